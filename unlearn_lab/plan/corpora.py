"""Decides which corpora a job reads: the one that is scored on, and those that are unlearned."""

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.pinned import Pinned, stage
from unlearn_lab.plan.protocols import Folded


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """`whole` is what target training and evaluation see; `steps` are unlearned in this order.

    Without folds the one step is the whole. In scalability it is fold `fold`, which holds those
    before it; in sustainability every fold up to `fold` is a step, from the previous one's result.
    """

    whole: Stage
    steps: tuple[Stage, ...]


def corpora(dataset: Pinned) -> Corpora:
    """The corpora of a data set."""
    folds = dataset.value.steps if isinstance(dataset.value, Folded) else ()
    if not folds:
        whole = _corpus(dataset)
        return Corpora(whole=whole, steps=(whole,))
    return Corpora(
        whole=_corpus(dataset.replaced(fold=None)),
        steps=tuple(_corpus(dataset.replaced(fold=fold)) for fold in folds),
    )


def fold_of(stage: Stage) -> int | None:
    """The fold that a corpus stage holds or a training reads; None where it is the whole."""
    node = stage.inputs.get("corpus", stage).params.get("dataset")
    return node.get("fold") if isinstance(node, Mapping) else None


def chain(unlearn: Stage) -> tuple[Stage, ...]:
    """The unlearnings one after the other that end with this one; without a chain it alone."""
    start = unlearn.inputs["target"]
    return (*(chain(start) if start.name == unlearn.name else ()), unlearn)


def _corpus(dataset: Pinned) -> Stage:
    return stage(
        "corpus", "unlearn_lab.data.corpus_stage:build", {"dataset": dataset.node}, parts=[dataset]
    )
