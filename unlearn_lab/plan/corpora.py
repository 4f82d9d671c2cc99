"""Decides which corpora a job reads: the one to score on, and those to unlearn."""

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.pinned import Pinned, stage
from unlearn_lab.plan.protocols import Folded


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The corpora of a job: `whole` to train the target and evaluate, `steps` to unlearn in order.

    Without folds, the only step is the whole. In scalability it is fold `fold`, which contains the
    earlier folds; in sustainability each fold up to `fold` is a step that starts from the model of
    the previous one.
    """

    whole: Stage
    steps: tuple[Stage, ...]


def corpora(dataset: Pinned) -> Corpora:
    """Returns the corpora of a data set."""
    folds = dataset.value.steps if isinstance(dataset.value, Folded) else ()
    if not folds:
        whole = _corpus(dataset)
        return Corpora(whole=whole, steps=(whole,))
    return Corpora(
        whole=_corpus(dataset.replaced(fold=None)),
        steps=tuple(_corpus(dataset.replaced(fold=fold)) for fold in folds),
    )


def fold_of(stage: Stage) -> int | None:
    """Returns the fold of a corpus stage, or of the corpus a stage reads; None for the whole."""
    node = stage.inputs.get("corpus", stage).params.get("dataset")
    return node.get("fold") if isinstance(node, Mapping) else None


def chain(unlearn: Stage) -> tuple[Stage, ...]:
    """Returns the successive unlearn stages that end with this one; only this one without folds."""
    start = unlearn.inputs["target"]
    return (*(chain(start) if start.name == unlearn.name else ()), unlearn)


def _corpus(dataset: Pinned) -> Stage:
    return stage(
        "corpus", "unlearn_lab.data.corpus_stage:build", {"dataset": dataset.node}, parts=[dataset]
    )
