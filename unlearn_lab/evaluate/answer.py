"""Answers all metrics' requests with one model, in batches: continuations and log-probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import GenerationConfig

from unlearn_lab.data.batch import TrainingSequence
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.decode import continue_all
from unlearn_lab.evaluate.encode import decode, encode, encode_requests
from unlearn_lab.evaluate.metric import Continue, LogLikelihood, ModelQuery
from unlearn_lab.evaluate.scoring import Scorer


@dataclass(frozen=True, kw_only=True)
class ModelAnswers:
    """Answers of one model; looking up a request that was not made raises `KeyError`.

    Attributes:
        tokenizer: the model's tokenizer.
        texts: continuations by request.
        scored: log-probabilities by request, and which tokens are the likeliest.
    """

    tokenizer: PreTrainedTokenizerBase
    texts: Mapping[Continue, str]
    scored: Mapping[LogLikelihood, tuple[Tensor, Tensor]]

    def text(self, request: Continue) -> str:
        """Returns the continuation, without the prompt and without special tokens."""
        return self.texts[request]

    def log_probabilities(self, request: LogLikelihood) -> Float[Tensor, " tokens"]:
        """Returns log-probabilities in nats, float32 on the CPU (see `Answers`)."""
        return self.scored[request][0]

    def likeliest(self, request: LogLikelihood) -> Bool[Tensor, " tokens"]:
        """Returns for each token scored, EOS excepted, whether no other is likelier."""
        return self.scored[request][1]

    def truncate(self, text: str, num_tokens: int) -> str:
        """Returns the text's first `num_tokens` tokens (no special ones), decoded."""
        return decode(self.tokenizer, encode(self.tokenizer, text)[:num_tokens])


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
            texts=continue_all(model, tokenizer, prompts, batch_tokens),
            scored=_score_all(model, tokenizer, texts, batch_tokens),
        )


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Sets evaluation mode and empty generation settings; restores both on exit.

    Empty, because `generate`, which evaluation harnesses call, fills fields that a given
    configuration leaves unset from the model's own (repetition penalties, suppressed tokens, other
    EOS), which would change the answers.
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


def _score_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[LogLikelihood, TrainingSequence],
    batch_tokens: int,
) -> dict[LogLikelihood, tuple[Tensor, Tensor]]:
    found = Scorer(model).score_all(list(texts.values()), batch_tokens)
    scored = dict[LogLikelihood, tuple[Tensor, Tensor]]()
    for request, (values, hits) in zip(texts, found, strict=True):
        ended = request.question is not None and tokenizer.eos_token_id is not None
        scored[request] = values, hits[:-1] if ended else hits
    for request, (values, _) in scored.items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"the model gave log-probabilities that are not finite for {request.text[:40]!r}"
            )
    return scored
