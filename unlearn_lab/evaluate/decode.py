"""Continues prompts in batches: common beginnings are computed once, ended rows leave the batch."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer
from transformers.generation.logits_process import LogitsProcessorList

from unlearn_lab.data.batch import pad_left
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.encode import decode, num_new
from unlearn_lab.evaluate.key_cache import allows_gaps, reserved_cache
from unlearn_lab.evaluate.metric import Continue
from unlearn_lab.evaluate.sampling import GumbelMax
from unlearn_lab.evaluate.shared_start import Group, batches, groups
from unlearn_lab.models.next_token import new_cache, next_logits, takes_cache

_PADDING = 0
_KEPT = 0.75
"""A batch is made smaller once at most this share of its rows goes on."""


def continue_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[Continue, list[int]],
    batch_tokens: int,
) -> dict[Continue, str]:
    """Returns the continuation of each prompt, as text without special tokens.

    A continuation ends at the tokenizer's EOS, after the request's number of tokens, or at the end
    of the token with which it contains one of the request's stop strings. Raises `ValueError` for
    logits that are NaN.

    Args:
        model: the model in evaluation mode, on its device.
        tokenizer: the model's tokenizer.
        prompts: token ids by request, none empty.
        batch_tokens: maximum number of tokens in a batch, padding and new tokens included; a batch
            has at least one prompt.
    """
    if not takes_cache(model):
        return {
            request: decode(tokenizer, _generate(model, tokenizer, request, ids))
            for request, ids in prompts.items()
        }
    texts = dict[Continue, str]()
    rooms = [num_new(request, len(ids)) for request, ids in prompts.items()]
    most = max(map(len, prompts.values()), default=0) + max(rooms, default=0)
    alike = groups(prompts) if allows_gaps(model, most) else [Group(0, prompts)]
    for group in alike:
        beginning = _beginning(model, group)
        for batch in batches(group, batch_tokens):
            rows = {request: group.prompts[request][group.shared :] for request in batch}
            for request, tokens in _Batch(model, tokenizer, rows, beginning).run().items():
                texts[request] = decode(tokenizer, tokens)
    return texts


def refuse_nan(_tokens: Tensor, logits: Tensor) -> Tensor:
    """Logits processor that raises `ValueError` on NaN, where argmax silently picks a token."""
    if logits.isnan().any():
        raise ValueError("the model's logits are NaN: its weights or activations are not finite")
    return logits


class _Batch:
    """The state of one batch: its cache, and the rows that go on."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Mapping[Continue, list[int]],
        beginning: DynamicCache | None,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._requests = list(prompts)
        self._new = {request: list[int]() for request in prompts}
        self._ended = set[Continue]()
        shared = 0 if beginning is None else beginning.get_seq_length()
        self._room = {
            request: num_new(request, shared + len(ids)) for request, ids in prompts.items()
        }
        self._end = cast("int | None", tokenizer.eos_token_id)
        ids, real = pad_left(list(prompts.values()))
        self._ids = ids.to(model.device)
        self._real = torch.nn.functional.pad(real, (shared, 0), value=True).to(model.device)
        most = self._real.shape[1] + max(self._room.values())
        self._cache = reserved_cache(model, most, beginning, len(prompts))
        self._noise = GumbelMax(self._requests)

    def run(self) -> dict[Continue, list[int]]:
        """Returns the new tokens of each prompt, EOS excluded."""
        while True:
            logits = next_logits(self._model, self._ids, self._real, self._cache)
            chosen = self._noise(self._ids, refuse_nan(self._ids, logits)).argmax(-1)
            for request, token in zip(self._requests, chosen.tolist(), strict=True):
                if request not in self._ended:
                    self._take(request, token)
            going = [row for row, one in enumerate(self._requests) if one not in self._ended]
            if not going:
                return self._new
            self._ids = chosen[:, None]
            self._real = torch.nn.functional.pad(self._real, (0, 1), value=True)
            if len(going) <= _KEPT * len(self._requests):
                self._keep(going)

    def _take(self, request: Continue, token: int) -> None:
        """Adds a token to a continuation, or ends it."""
        new = self._new[request]
        if token != self._end:
            new.append(token)
        text = decode(self._tokenizer, new) if request.stops else ""
        stopped = any(stop in text for stop in request.stops)
        if token == self._end or stopped or len(new) == self._room[request]:
            self._ended.add(request)

    def _keep(self, rows: list[int]) -> None:
        """Removes all other rows."""
        kept = torch.tensor(rows, device=self._ids.device)
        self._ids, self._real = self._ids[kept], self._real[kept]
        cast("Any", self._cache).reorder_cache(
            kept
        )  # the only selection that every kind of layer has
        self._noise.keep(rows)
        self._requests = [self._requests[row] for row in rows]


def _generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: Continue, ids: list[int]
) -> list[int]:
    """Returns the new tokens of a model with a state of its own kind, by transformers' loop."""
    prompt = torch.tensor([ids], device=model.device)
    settings = GenerationConfig(
        max_new_tokens=num_new(request, len(ids)),
        do_sample=False,
        pad_token_id=_PADDING,
        eos_token_id=tokenizer.eos_token_id,
    )
    processors = LogitsProcessorList([refuse_nan, GumbelMax([request])])
    grown = cast("Any", model).generate(
        inputs=prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=settings,
        logits_processor=processors,
    )
    return grown[0, len(ids) :].tolist()


def _beginning(model: PreTrainedModel, group: Group) -> DynamicCache | None:
    """Returns the keys and values of the tokens that all prompts of a group begin with."""
    if group.shared == 0:
        return None
    ids = next(iter(group.prompts.values()))[: group.shared]
    cache = new_cache(model)
    cache.layers[:] = [DynamicLayer() for _ in cache.layers]
    tokens = torch.tensor([ids], device=model.device)
    next_logits(model, tokens, torch.ones_like(tokens, dtype=torch.bool), cache)
    return cache
