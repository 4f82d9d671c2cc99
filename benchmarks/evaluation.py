"""Measures MUSE's metrics: seconds of this package, beside MUSE's own code if given.

    python -m benchmarks.evaluation --data FOLDER [--against FOLDER] [--shape smollm2]

The first folder has MUSE's data (knowmem, verbmem, privleak), the second is a clone of
github.com/swj0419/muse_bench. Both codes score the same random Llama on the same items; metrics are
taken in turn, so that a busy machine slows both equally. PrivLeak is measured on the texts that
both score; in the suite MUSE's code scores each in lower case as well, as it always does.
"""

import argparse
import contextlib
import importlib
import io
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.shapes import DEFAULTS, SHAPES
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.muse import MuseCorpus
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.knowmem import KnowMem
from unlearn_lab.evaluate.metric import LogLikelihood, Metric
from unlearn_lab.evaluate.verbmem import VerbMem

_KNOWMEM = {"num_tokens": 32, "answer_cue": "Answer: "}
_CHARACTERS = 600
"""Length of the texts that PrivLeak scores here."""


def main() -> None:
    """Prints CPU and wall seconds of each metric, and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="a clone of muse_bench")
    parser.add_argument("--shape", choices=SHAPES, default="17m")
    parser.add_argument("--items", type=int, default=20, help="of each metric")
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    corpus = first_items(load(asked.data), asked.items)
    tokenizer = tokenizer_of(corpus, SHAPES[asked.shape]["vocab_size"])
    model = llama(asked.shape, tokenizer)
    tasks = ours(corpus, model, tokenizer, asked.batch_tokens)
    theirs = {} if asked.against is None else muse(asked.against, corpus, model, tokenizer)
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    answers: dict[tuple[str, str], Any] = {}
    for _ in range(asked.rounds):
        for name, task in tasks.items():
            for code, run in (("ours", task), ("MUSE", theirs.get(name))):
                if run is not None:
                    *spent, answers[name, code] = timed(run)
                    seconds.setdefault((name, code), []).append((spent[0], spent[1]))
    report({key: min(values) for key, values in seconds.items()}, list(tasks))
    for name in ("knowmem", "verbmem") if theirs else ():
        ours_, theirs_ = answers[name, "ours"], answers[name, "MUSE"]
        same = sum(a == b for a, b in zip(ours_, theirs_, strict=True))
        sys.stdout.write(f"{name}: {same} of {len(ours_)} answers are equal\n")


def load(folder: Path) -> Corpus:
    """Returns MUSE's corpus; raises `ValueError` if a part is missing."""
    settings = {"revision": None, "retain": "retain1", "folds": None, "fold": None}
    return MuseCorpus(path=str(folder), allow_overlap=True, **settings).load()


def first_items(corpus: Corpus, count: int) -> Corpus:
    """Returns the corpus with the first items of what is asked, and shortened documents."""
    return replace(
        corpus,
        verbatim=corpus.verbatim[:count],
        forget_questions=corpus.forget_questions[:count],
        retain_questions=corpus.retain_questions[:count],
        forget_documents=tuple(text[:_CHARACTERS] for text in corpus.forget_documents[:count]),
        holdout_documents=tuple(text[:_CHARACTERS] for text in corpus.holdout_documents[:count]),
    )


def tokenizer_of(corpus: Corpus, vocabulary: int) -> PreTrainedTokenizerFast:
    """Trains a byte-level tokenizer on the corpus."""
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "</s>", "<pad>"]
    trained.train_from_iterator(
        [*corpus.forget, *corpus.retain], vocabulary, special_tokens=special, show_progress=False
    )
    trained._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def llama(shape: str, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Returns a random model that never ends a text, so that the work does not depend on it."""
    torch.manual_seed(0)
    config = LlamaConfig(**{**DEFAULTS, **SHAPES[shape]})
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = None
    return model


def ours(
    corpus: Corpus, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, batch_tokens: int
) -> dict[str, Callable[[], Any]]:
    """Returns this package's metrics by name; each returns its answers."""
    endless = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", pad_token="<pad>"
    )

    def run(metrics: Sequence[Metric]) -> list[str]:
        requests = [request for metric in metrics for request in metric.requests(corpus)]
        found = answer(model, endless, requests, batch_tokens=batch_tokens)
        scores = [metric.score(corpus, found) for metric in metrics]
        return [str(item["answer"]) for score in scores for item in score.items]

    def privleak() -> None:
        texts = [*corpus.forget_documents, *corpus.holdout_documents]
        requests = [LogLikelihood(text, None) for text in texts]
        answer(model, endless, requests, batch_tokens=batch_tokens)

    greedy = VerbMem(num_tokens=128, temperature=None, num_samples=1, seed=0)
    both = [KnowMem(split=split, **_KNOWMEM) for split in ("forget", "retain")]

    def suite() -> None:
        run([greedy, *both])
        privleak()

    return {
        "knowmem": lambda: run(both),
        "verbmem": lambda: run([greedy]),
        "privleak, same texts": privleak,
        "suite": suite,
    }


def muse(
    folder: Path, corpus: Corpus, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> dict[str, Callable[[], Any]]:
    """Returns the metrics of MUSE's code by the same names."""
    sys.path.insert(0, str(folder))
    knowmem, verbmem, privleak = (
        importlib.import_module(f"metrics.{name}") for name in ("knowmem", "verbmem", "privleak")
    )
    documents = [*corpus.forget_documents, *corpus.holdout_documents]

    def asked(module: ModuleType) -> list[str]:
        found = []
        for split in ("forget", "retain"):
            questions = getattr(corpus, f"{split}_questions")
            examples = getattr(corpus, f"{split}_examples")
            _, log = module.eval(
                model, tokenizer,
                [one.question for one in questions], [one.answer for one in questions],
                [one.question for one in examples], [one.answer for one in examples],
            )  # fmt: skip
            found += [row["response"].strip() for row in log]
        return found

    def continued(module: ModuleType) -> list[str]:
        prompts = [one.prompt for one in corpus.verbatim]
        _, log = module.eval(
            model, tokenizer, prompts, [one.continuation for one in corpus.verbatim]
        )
        return [row["response"] for row in log]

    def scored() -> None:
        for text in documents:
            privleak.compute_ppl(text, model, tokenizer, device=model.device)

    def suite() -> None:
        asked(knowmem)
        continued(verbmem)
        privleak.eval_data(documents, model, tokenizer)

    return {
        "knowmem": lambda: asked(knowmem),
        "verbmem": lambda: continued(verbmem),
        "privleak, same texts": scored,
        "suite": suite,
    }


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Returns CPU seconds, wall seconds and what was returned; prints nothing."""
    cpu, wall = time.process_time(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = run()
    return time.process_time() - cpu, time.perf_counter() - wall, found


def report(seconds: dict[tuple[str, str], tuple[float, float]], names: Sequence[str]) -> None:
    """Prints the table."""
    for name in names:
        cpu, wall = seconds[name, "ours"]
        line = f"  {name:22} ours {cpu:7.1f} s CPU {wall:7.1f} s wall"
        if (name, "MUSE") in seconds:
            theirs = seconds[name, "MUSE"]
            line += f"   MUSE {theirs[0]:7.1f} {theirs[1]:7.1f}"
            line += f"   ratio {cpu / theirs[0]:.2f} {wall / theirs[1]:.2f}"
        sys.stdout.write(f"{line}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"  peak {peak:.2f} GiB, {torch.get_num_threads()} threads\n")
    sys.stdout.write(json.dumps({f"{a}/{b}": s for (a, b), s in seconds.items()}) + "\n")


if __name__ == "__main__":
    main()
