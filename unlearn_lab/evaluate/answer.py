"""Answers all metrics' requests with one model, in batches: continuations and log-probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.logits_process import LogitsProcessorList

from unlearn_lab.data.tokenise import text_ids
from unlearn_lab.evaluate.metric import Continue, LogLikelihood, ModelQuery
from unlearn_lab.evaluate.sampling import GumbelMax
from unlearn_lab.evaluate.scoring import Scorer

Asked = TypeVar("Asked", Continue, LogLikelihood)

_PADDING = 0


@dataclass(frozen=True, kw_only=True)
class ModelAnswers:
    """Answers of one model; looking up a request that was not made raises `KeyError`.

    Attributes:
        tokenizer: the model's tokenizer.
        texts: continuations by request.
        token_log_probabilities: log-probabilities by request.
    """

    tokenizer: PreTrainedTokenizerBase
    texts: Mapping[Continue, str]
    token_log_probabilities: Mapping[LogLikelihood, Tensor]

    def text(self, request: Continue) -> str:
        """Returns the continuation, without the prompt and without special tokens."""
        return self.texts[request]

    def log_probabilities(self, request: LogLikelihood) -> Float[Tensor, " tokens"]:
        """Returns log-probabilities in nats of all tokens but the first (BOS), float32 on CPU."""
        return self.token_log_probabilities[request]

    def truncate(self, text: str, num_tokens: int) -> str:
        """Returns the text's first `num_tokens` tokens (no special ones), decoded."""
        return _decode(self.tokenizer, _encode(self.tokenizer, text)[:num_tokens])


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[ModelQuery],
    *,
    batch_tokens: int,
) -> ModelAnswers:
    """Answers each distinct request once, on the model's device.

    Prompts and texts start with BOS if the tokenizer has one. Batch composition changes answers
    only within floating-point noise. Continuations are greedy or sampled from the whole vocabulary,
    as requested, independent of the model's own generation settings, and end at the tokenizer's
    EOS. The model's mode and settings are restored. Raises `ValueError` for a request that is empty
    or longer than the model's positions, a model that cannot generate, and logits that are NaN.

    Args:
        model: the model, on its device.
        tokenizer: the model's tokenizer.
        requests: requests in any order, duplicates allowed.
        batch_tokens: maximum number of tokens in a batch, padding and new tokens included; a batch
            has at least one request.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens={batch_tokens}: must be at least 1")
    prompts, texts = encode_requests(model, tokenizer, requests)
    # under inference_mode, autocast would cast each weight again in every forward pass
    with evaluating(model), torch.no_grad():
        return ModelAnswers(
            tokenizer=tokenizer,
            texts=_continue_all(model, tokenizer, prompts, batch_tokens),
            token_log_probabilities=_score_all(model, texts, batch_tokens),
        )


def encode_requests(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: Sequence[ModelQuery]
) -> tuple[dict[Continue, list[int]], dict[LogLikelihood, list[int]]]:
    """Returns the token ids of prompts and of texts, by distinct request.

    Raises `ValueError` as `answer` does.

    Args:
        model: the model; only its configuration is read.
        tokenizer: the model's tokenizer.
        requests: requests in any order, duplicates allowed.
    """
    if not model.can_generate():
        raise ValueError(f"{type(model).__name__} cannot generate: use a causal language model")
    prompts = {
        request: _encode_prompt(model, tokenizer, request)
        for request in requests
        if isinstance(request, Continue)
    }
    texts = {
        request: _encode_text(model, tokenizer, request)
        for request in requests
        if isinstance(request, LogLikelihood)
    }
    return prompts, texts


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Sets evaluation mode and empty generation settings; restores both on exit.

    Empty, because `generate` fills fields that a given configuration leaves unset from the model's
    own (repetition penalties, suppressed tokens, other EOS), which would change the answers.
    """
    modes = {module: module.training for module in model.modules()}
    settings = model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = settings
        for module, mode in modes.items():
            module.training = mode


def _continue_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[Continue, list[int]],
    batch_tokens: int,
) -> dict[Continue, str]:
    texts = {}
    end = cast("int | None", tokenizer.eos_token_id)
    for num_tokens in sorted({request.num_tokens for request in prompts}):
        group = {
            request: tokens
            for request, tokens in prompts.items()
            if request.num_tokens == num_tokens
        }
        for batch in _batches(group, num_tokens, batch_tokens):
            answers = _generate(model, {request: group[request] for request in batch}, end)
            texts.update(
                {
                    request: _decode(tokenizer, tokens)
                    for request, tokens in zip(batch, answers, strict=True)
                }
            )
    return texts


def _score_all(
    model: PreTrainedModel, texts: Mapping[LogLikelihood, list[int]], batch_tokens: int
) -> dict[LogLikelihood, Tensor]:
    scored, scorer = {}, Scorer(model)
    for batch in _batches(texts, 0, batch_tokens):
        scored.update(zip(batch, scorer.score([texts[request] for request in batch]), strict=True))
    for request, values in scored.items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"the model gave log-probabilities that are not finite for {request.text[:40]!r}"
            )
    return scored


def _batches(
    encoded: Mapping[Asked, list[int]], num_new: int, batch_tokens: int
) -> Iterator[list[Asked]]:
    """Yields batches of similar length, longest first, so that too large a batch fails early."""
    queue = sorted(encoded, key=lambda request: -len(encoded[request]))
    while queue:
        size = max(1, batch_tokens // (len(encoded[queue[0]]) + num_new))
        yield queue[:size]
        queue = queue[size:]


def _generate(
    model: PreTrainedModel, prompts: Mapping[Continue, list[int]], end: int | None
) -> list[list[int]]:
    """Returns each prompt's new tokens before EOS; all requests have the same `num_tokens`."""
    tokens, mask = _pad(list(prompts.values()))
    grown = cast("Any", model).generate(
        inputs=tokens.to(model.device),
        attention_mask=mask.long().to(model.device),
        generation_config=GenerationConfig(
            max_new_tokens=next(iter(prompts)).num_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=_PADDING,
            eos_token_id=end,
        ),
        logits_processor=LogitsProcessorList([refuse_nan, GumbelMax(list(prompts))]),
    )
    return [_before(row, end) for row in grown[:, tokens.shape[1] :].tolist()]


def refuse_nan(_tokens: Tensor, logits: Tensor) -> Tensor:
    """Logits processor that raises `ValueError` on NaN, where argmax silently picks a token."""
    if logits.isnan().any():
        raise ValueError("the model's logits are NaN: its weights or activations are not finite")
    return logits


def _pad(
    sequences: Sequence[list[int]],
) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
    """Returns left-padded sequences and their mask; padding is masked, whatever its id."""
    width = max(len(sequence) for sequence in sequences)
    tokens = torch.full((len(sequences), width), _PADDING)
    mask = torch.zeros((len(sequences), width), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        tokens[row, width - len(sequence) :] = torch.tensor(sequence)
        mask[row, width - len(sequence) :] = True
    return tokens, mask


def _before(tokens: list[int], end: int | None) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _encode_prompt(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: Continue
) -> list[int]:
    _check_num_tokens(request)
    tokens = [*_first(tokenizer), *_encode(tokenizer, request.prompt)]
    if not tokens:
        raise ValueError(
            "a prompt is empty and the tokenizer has no BOS token: nothing to continue"
        )
    _check_length(model, len(tokens), request.num_tokens, request.prompt)
    return tokens


def _encode_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: LogLikelihood
) -> list[int]:
    """Encodes BOS and the first `num_tokens` tokens; without BOS the first one is not scored."""
    _check_num_tokens(request)
    tokens = [*_first(tokenizer), *_encode(tokenizer, request.text)[: request.num_tokens]]
    if not tokens[1:]:
        raise ValueError(f"the text {request.text[:40]!r} has no token to score after the first")
    _check_length(model, len(tokens), 0, request.text)
    return tokens


def _check_num_tokens(request: ModelQuery) -> None:
    if request.num_tokens is not None and request.num_tokens < 1:
        raise ValueError(f"num_tokens={request.num_tokens}: must be at least 1")


def _check_length(model: PreTrainedModel, num_tokens: int, num_new: int, text: str) -> None:
    allowed = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if allowed is not None and num_tokens + num_new > allowed:
        raise ValueError(
            f"{text[:40]!r}... has {num_tokens} tokens and wants {num_new} new ones: "
            f"the model has {allowed} positions, so at most {allowed - num_new} are allowed"
        )


def _first(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    first = cast("int | None", tokenizer.bos_token_id)
    return [] if first is None else [first]


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return text_ids([text], tokenizer)[0]


def _decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    return str(
        tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )
