"""Decides which corpora a job reads: the one that is scored on, and those that are unlearned."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage
from unlearn_lab.stages import Config, stage

_CUSTOM = "unlearn_lab.data.custom.CustomCorpus"
_MUSE = "unlearn_lab.data.muse.MuseCorpus"
_MUSE_FOLDERS = ("raw", "scal", "sust", "knowmem", "verbmem", "privleak")
_READ = {
    _CUSTOM: ("*",),
    _MUSE: tuple(f"{name}/**/*" for name in _MUSE_FOLDERS),
}
"""The files of a folder that are a corpus; not what else lies there, say the results of runs."""
NUM_FOLDS = 4
"""Folds of MUSE's scalability and sustainability (Shi et al., arXiv 2407.06460)."""


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """`whole` is what target training and evaluation see; `steps` are unlearned in this order.

    Without folds the one step is the whole. In scalability it is fold `fold`, which holds those
    before it; in sustainability every fold up to `fold` is a step, from the previous one's result.
    """

    whole: Stage
    steps: tuple[Stage, ...]


def corpora(dataset: Config, content: ContentKey) -> Corpora:
    """The corpora of a data set's node.

    Raises `ValueError` when a file, a folder or a data set on the hub cannot be found.
    """
    node, digests = pinned_corpus(dataset, content, "dataset")
    if not node.get("folds"):
        whole = _corpus(node, digests)
        return Corpora(whole=whole, steps=(whole,))
    last = node["fold"] or NUM_FOLDS
    folds = [last] if node["folds"] == "scalability" else range(1, last + 1)
    return Corpora(
        whole=_corpus({**node, "fold": None}, digests),
        steps=tuple(_corpus({**node, "fold": fold}, digests) for fold in folds),
    )


def fold_of(stage: Stage) -> int | None:
    """The fold that a corpus stage holds or a training reads; None where it is the whole."""
    node = stage.inputs.get("corpus", stage).params.get("dataset")
    return node["fold"] if isinstance(node, Mapping) and node.get("folds") else None


def chain(unlearn: Stage) -> tuple[Stage, ...]:
    """The unlearnings one after the other that end with this one; without a chain it alone."""
    start = unlearn.inputs["target"]
    return (*(chain(start) if start.name == unlearn.name else ()), unlearn)


def _corpus(node: Config, digests: Config) -> Stage:
    content = {"content": digests} if digests else {}
    return stage("corpus", "unlearn_lab.data.stage:build", {"dataset": node, **content})


def pinned_corpus(
    dataset: Config, content: ContentKey, setting: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The node with paths made absolute and a hub name pinned to a commit; digests of files.

    Raises `ValueError`, which begins with `setting`, when something cannot be found.
    """
    node, digests = dict(dataset), dict[str, str]()
    if node["_target_"] == _MUSE:
        pin = content.of_dataset(node["path"], node["revision"], f"{setting}.path", _READ[_MUSE])
        node |= {"path": pin.path, "revision": pin.revision}
        digests |= {} if pin.digest is None else {"path": pin.digest}
    elif node["_target_"] == _CUSTOM:
        for name, place in node.items():
            if isinstance(place, str) and name != "_target_":
                if not Path(place).exists():
                    raise ValueError(f"{setting}.{name}={place}: no such file or folder")
                node[name] = str(Path(place).resolve())
                digests[name] = content.of_path(Path(place), _READ[_CUSTOM])
    return node, digests
