"""Encodes the requests of metrics as token ids, and decodes answers."""

from collections.abc import Sequence

import torch

from unlearn_lab.data.batch import Answered, TrainingSequence
from unlearn_lab.data.template import answer_ids, question_ids
from unlearn_lab.data.tokenise import bos, text_ids
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.metric import Continue, LogLikelihood, ModelQuery


def encode_requests(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: Sequence[ModelQuery]
) -> tuple[dict[Continue, list[int]], dict[LogLikelihood, TrainingSequence]]:
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


def _encode_prompt(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: Continue
) -> list[int]:
    _check_num_tokens(request)
    if request.template is not None:
        tokens = question_ids(request.prompt, request.template, tokenizer, request.examples)
        _check_length(model, len(tokens), num_new(request, len(tokens)), request.prompt)
        return tokens
    tokens = [*bos(tokenizer), *encode(tokenizer, request.prompt)]
    if not tokens:
        raise ValueError(
            "a prompt is empty and the tokenizer has no BOS token: nothing to continue"
        )
    _check_length(model, len(tokens), request.num_tokens, request.prompt)
    return tokens


def _encode_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: LogLikelihood
) -> TrainingSequence:
    """Encodes BOS and the first `num_tokens` tokens; without BOS the first one is not scored.

    Of an answer to a question, only the answer is scored.
    """
    _check_num_tokens(request)
    if request.question is not None and request.template is not None:
        prompt = question_ids(request.question, request.template, tokenizer)
        answer = answer_ids(request.question, request.text, request.template, tokenizer)
        _check_length(model, len(prompt) + len(answer), 0, request.text)
        return Answered(ids=torch.tensor([*prompt, *answer]), prompt=len(prompt))
    tokens = [*bos(tokenizer), *encode(tokenizer, request.text)[: request.num_tokens]]
    if not tokens[1:]:
        raise ValueError(f"the text {request.text[:40]!r} has no token to score after the first")
    _check_length(model, len(tokens), 0, request.text)
    return torch.tensor(tokens)


def num_new(request: Continue, num_prompt: int) -> int:
    """Returns the maximum number of new tokens, at least 1."""
    return max(1, request.num_tokens - num_prompt * request.counts_prompt)


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


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokenizes plain text, without special tokens."""
    return text_ids([text], tokenizer)[0]


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Decodes tokens, without special ones."""
    return str(
        tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )
