"""Reads a whole corpus folder of either layout and collects all problems and warnings."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import OmegaConf

from unlearn_lab.config.build import placed
from unlearn_lab.config.paths import data_dir
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.custom import PARTS, CustomCorpus, scored
from unlearn_lab.data.muse import assemble
from unlearn_lab.data.muse_layout import (
    ASKED,
    NUM_FOLDS,
    compare,
    is_muse_layout,
    local_files,
    read_local,
)
from unlearn_lab.data.parts import Part
from unlearn_lab.data.problems import Problem
from unlearn_lab.data.remarks import hopeless, remarks
from unlearn_lab.data.rows import part_of


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The contents and faults of a corpus folder.

    Attributes:
        dataset: the option of the group `dataset` that reads it.
        parts: the parts, by name.
        corpus: the corpus; None if there are problems.
        problems: faults that make the corpus unusable.
        warnings: faults that do not.
    """

    dataset: str
    parts: Mapping[str, Part]
    corpus: Corpus | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def survey(folder: Path) -> Survey:
    """Surveys a folder in MUSE's layout or a custom one."""
    return _muse(folder) if is_muse_layout(folder) else _custom(folder)


def _muse(folder: Path) -> Survey:
    retains = sorted({file.name.split(".")[0] for file in (folder / "raw").glob("retain*")})
    names = ["raw/forget", *(f"raw/{retain}" for retain in retains or ["retain1"])]
    folds = [f"{kind}/forget_{k}" for kind in ("scal", "sust") for k in range(1, NUM_FOLDS + 1)]
    names += [name for name in folds if local_files(folder, name)]
    parts = {name: read_local(folder, name) for name in [*names, *ASKED.values()]}
    last = [name for name in names if name.startswith("scal/")][-1:]  # folds are cumulative
    forget = ["raw/forget", *last, *(name for name in names if name.startswith("sust/"))]
    shared, overlap = compare(
        [parts[name] for name in forget],
        [parts[name] for name in names if name.startswith("raw/retain")],
        asked := {role: parts[name] for role, name in ASKED.items()},
        allowed=False,
    )
    whole = partial(assemble, [parts["raw/forget"]], parts[names[1]], asked)
    return _survey("muse_news", whole, parts, asked, shared, overlap)


def _custom(folder: Path) -> Survey:
    settings = OmegaConf.load(data_dir("conf") / "dataset" / "custom.yaml")
    settings = {str(name): value for name, value in settings.items() if name != "_target_"}
    source = CustomCorpus(**{**settings, "path": str(folder)})
    unread = [
        Problem(str(file), None, None, f"is not read; the parts are {', '.join(PARTS)}")
        for file in sorted(folder.iterdir())
        if part_of(file) not in (None, *PARTS)
    ]
    parts = source.read()
    for split in ("forget", "retain"):
        if f"{split}_examples" in parts and f"{split}_questions" not in parts:
            place = parts[f"{split}_examples"].place
            unread.append(Problem(place, None, None, f"is not used without {split}_questions"))
    shared, overlap = source.compare(parts)
    return _survey(
        "custom",
        partial(source.assemble, parts),
        parts,
        scored(parts) if "forget" in parts else {},
        shared,
        [*overlap, *unread],
    )


def _survey(
    dataset: str,
    assembled: Callable[[], Corpus],
    parts: Mapping[str, Part],
    asked: Mapping[str, Part],
    shared: list[Problem],
    warned: list[Problem],
) -> Survey:
    problems = [str(fault) for part in parts.values() for fault in part.problems]
    problems += map(str, shared)
    corpus = None
    if not problems:
        try:
            corpus = assembled()
        except ValueError as error:
            problems.append(placed(error, "dataset"))
    warned = [*(remark for part in parts.values() for remark in part.remarks), *warned]
    return Survey(
        dataset=dataset,
        parts=parts,
        corpus=corpus,
        problems=tuple(problems),
        warnings=(
            *map(str, warned),
            *(line for lines in remarks(asked, ()).values() for line in lines),
            *hopeless(asked, _longest_answer()),
            *(() if corpus is None else weaknesses(corpus)),
        ),
    )


def _longest_answer() -> int:
    """Returns the tokens of an answer in the default evaluation."""
    settings = OmegaConf.load(data_dir("conf") / "eval" / "muse.yaml")
    return int(settings.metrics.knowmem.num_tokens)


FEW = 20
"""Fewest items of a metric for a bootstrap interval narrow enough to draw conclusions."""


def weaknesses(corpus: Corpus) -> Iterator[str]:
    """Yields warnings: missing or few items of a metric, and questions among their own examples."""
    if not corpus.probes:
        yield from _missing(corpus)
    counts = {
        "VerbMem: {} prompts": len(corpus.verbatim),
        "KnowMem: {} questions about the forget texts": len(corpus.forget_questions),
        "Utility: {} questions about the retain texts": len(corpus.retain_questions),
        "PrivLeak: {} forget texts": len(corpus.forget_documents),
        "PrivLeak: {} holdout texts": len(corpus.holdout_documents),
        "Probability and ROUGE: {} questions to forget": len(corpus.forget_pairs),
        "Utility: {} questions to retain": len(corpus.retain_pairs),
    }
    for what, count in counts.items():
        if 0 < count < FEW:
            yield f"{what.format(count)}; with fewer than {FEW} the intervals are wide"
    for split in ("forget", "retain"):
        shown = {example.question for example in getattr(corpus, f"{split}_examples")}
        asked = [item.question for item in getattr(corpus, f"{split}_questions")]
        if num_told := sum(question in shown for question in asked):
            yield f"{num_told} of the {split} questions are among the examples, with their answers"


def _missing(corpus: Corpus) -> Iterator[str]:
    if corpus.forget_questions and not corpus.retain_questions:
        yield (
            "questions about the forget texts but none about the retain texts: Utility will be "
            "skipped, so a model that forgot everything cannot be distinguished from a good one"
        )
    elif corpus.retain_questions and not corpus.forget_questions:
        yield "no questions about the forget texts: KnowMem will be skipped"
    elif not corpus.forget_questions:
        yield "no questions: KnowMem and Utility will be skipped"
