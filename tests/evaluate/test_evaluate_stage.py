"""Which metrics are scored, and by whom."""

import re
from dataclasses import dataclass, replace

import pytest
from transformers import (
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.evaluate_stage import score_all
from unlearn_lab.evaluate.knowmem import KnowMem
from unlearn_lab.evaluate.metric import Metric, ModelMetric, Score, missing_metrics
from unlearn_lab.evaluate.min_k import MinK
from unlearn_lab.evaluate.verbmem import VerbMem


@dataclass(frozen=True, kw_only=True)
class CountsParameters:
    """A metric that asks nothing and looks at the model."""

    needs: str

    def missing(self, corpus: Corpus) -> str | None:
        return None if getattr(corpus, self.needs) else f"the corpus has no {self.needs}"

    def measure(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
    ) -> Score:
        value = float(model.num_parameters() + batch_tokens)
        return Score(value=value, low=value, high=value, per_item=(value,), items=({},))


METRICS = {
    "parameters": CountsParameters(needs="retain"),
    "utility": KnowMem(split="retain", num_tokens=2, answer_cue="Answer:"),
    "verbmem": VerbMem(num_tokens=2, temperature=None, num_samples=1, seed=0),
    "min_k": MinK(fraction=0.4, num_tokens=None),
}


def test_both_kinds_are_scored_in_the_order_of_the_configuration(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, corpus: Corpus
) -> None:
    told = replace(corpus, forget_documents=("w1 w2 w3",), holdout_documents=("w4 w5",))
    scores = score_all(model, tokenizer, told, METRICS, batch_tokens=100)
    assert list(scores) == list(METRICS)
    assert scores["parameters"].value == model.num_parameters() + 100


def test_what_the_corpus_cannot_serve_is_left_out_and_explained(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, corpus: Corpus
) -> None:
    bare = replace(corpus, retain=(), retain_questions=(), holdout_documents=())
    assert list(score_all(model, tokenizer, bare, METRICS, batch_tokens=100)) == ["verbmem"]
    missing = missing_metrics(METRICS, bare)
    assert list(missing) == ["parameters", "utility", "min_k"]
    assert missing["parameters"] == METRICS["parameters"].missing(bare)
    assert re.search("no questions .*retain", missing["utility"])
    assert "no holdout documents" in missing["min_k"]
    assert missing_metrics(METRICS, corpus) == {}


@pytest.mark.parametrize(("name", "asks"), [("parameters", False), ("utility", True)])
def test_the_two_kinds_are_told_apart(name: str, asks: bool) -> None:
    assert isinstance(METRICS[name], Metric) == asks
    assert isinstance(METRICS[name], ModelMetric) != asks
