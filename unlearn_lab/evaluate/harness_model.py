"""Wraps a model for lm-eval: batches bounded in tokens, no truncated prompts, no NaN scored."""

import contextlib
import copy
import importlib
import logging
import math
import random
import warnings
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

import torch
from transformers.generation.logits_process import LogitsProcessorList

from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.decode import refuse_nan

_LOUD = ("lm_eval", "datasets", "evaluate")
_log = logging.getLogger(__name__)


def as_harness_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
) -> Any:
    """Wraps a model in memory as lm-eval's HFLM.

    Log-probabilities are computed in float32; HFLM computes them in the model's dtype, in which
    choices tie. HFLM would truncate a prompt that is too long, and choose the first answer if all
    log-likelihoods are NaN (the true one in TruthfulQA): both raise `ValueError` here.

    Args:
        model: the model, used unchanged.
        tokenizer: the model's tokenizer, copied.
        batch_tokens: maximum number of tokens in a batch, new tokens included; a batch has at least
            one request.
    """
    hflm: Any = importlib.import_module("lm_eval.models.huggingface").HFLM
    settled = importlib.import_module("lm_eval.models.utils").normalize_gen_kwargs

    class UncutHFLM(hflm):
        def require_room(self, requests: Any) -> None:
            """Raises `ValueError` for a request longer than the model's positions; runs nothing."""
            _batch_size([self._length(request) for request in requests], self.max_length, 1)

        def _length(self, request: Any) -> int:
            if request.request_type != "generate_until":
                return len(self.tok_encode("".join(request.args))) - 1
            prompt, settings = request.args
            new = settled(settings, self.max_gen_toks)["max_gen_toks"]
            return len(self.tok_encode(prompt)) + new

        def _loglikelihood_tokens(
            self, requests: Any, disable_tqdm: bool = False, override_bs: int | None = None
        ) -> list[tuple[float, bool]]:
            lengths = [len(context) + len(answer) - 1 for _, context, answer in requests]
            self.batch_size_per_gpu = _batch_size(lengths, self.max_length, batch_tokens)
            found = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            _require_numbers([value for value, _ in found])
            return found

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            lengths = [self._length(request) for request in requests]
            self.batch_size_per_gpu = _batch_size(lengths, self.max_length, batch_tokens)
            return super().generate_until(requests, disable_tqdm)

        def _model_generate(
            self, context: Any, max_length: int, stop: list[str], **settings: Any
        ) -> torch.Tensor:
            """Stops each row at EOS; HFLM would keep tokens generated after it in a batch."""
            settings |= {"eos_token_id": self.eot_token_id}
            settings |= {"logits_processor": LogitsProcessorList([refuse_nan])}
            return super()._model_generate(context, max_length, stop, **settings)

    return UncutHFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), softmax_dtype="float32")


def _batch_size(lengths: Sequence[int], positions: int, batch_tokens: int) -> int:
    """Returns how many sequences of the greatest length fit in a batch."""
    longest = max(lengths)
    if longest > positions:
        raise ValueError(
            f"num_fewshot: a prompt and its answer have {longest} tokens, the model {positions} "
            "positions; show fewer examples, or measure another task"
        )
    return max(1, batch_tokens // longest)


def _require_numbers(values: Sequence[float]) -> None:
    if any(math.isnan(value) for value in values):
        raise ValueError(
            "the model's log-likelihoods are NaN: its weights or activations are not finite"
        )


@contextlib.contextmanager
def reproducibly(seed: int) -> Iterator[None]:
    """Seeds Python's and torch's global generators, which tasks use; restores them on exit."""
    state = random.getstate()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps the logs, progress bars and warnings of lm-eval and `datasets` off the terminal.

    Captured output is logged at level DEBUG.
    """
    said = StringIO()
    levels = {name: logging.getLogger(name).level for name in _LOUD}
    try:
        with (
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(said),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            for library in _LOUD:
                importlib.import_module(library)  # some set their log level on import
                logging.getLogger(library).setLevel(logging.ERROR)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        _log.debug("lm-eval said: %s", said.getvalue())
