"""Small made-up corpora on disk: one in MUSE's layout, one of a user's own."""

import dataclasses
import json
from pathlib import Path

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.custom import CustomCorpus
from unlearn_lab.data.muse import MuseCorpus

ROLES = tuple(
    field.name
    for field in dataclasses.fields(Corpus)
    if field.default is field.default_factory is dataclasses.MISSING
)
"""What every corpus has; questions to train on and probes are further."""


def texts(split, number=25):
    """Texts of 22 words."""
    rest = "It has a second sentence and a third. This is it."
    return [f"The {split} paper no {n} tells of {split} things, {n}. {rest}" for n in range(number)]


def questions(split, number=25):
    return [{"question": f"Which {split} is it, {n}?", "answer": f"no {n}"} for n in range(number)]


def prompts(number=25):
    return [{"prompt": f"It began {n} times", "gt": f"and ended {n} times."} for n in range(number)]


MUSE = {
    "raw/forget": texts("forget"),
    "raw/retain1": texts("retain"),
    "verbmem/forget": prompts(),
    "knowmem/forget_qa": questions("forget"),
    "knowmem/forget_qa_icl": questions("shown forget", 2),
    "knowmem/retain_qa": questions("retain"),
    "knowmem/retain_qa_icl": questions("shown retain", 2),
    "privleak/forget": texts("scored"),
    "privleak/holdout": texts("holdout"),
}


def muse_folder(folder: Path, **changes) -> Path:
    """MUSE's layout; in a name in `changes` two underscores stand for the slash."""
    parts = MUSE | {name.replace("__", "/"): values for name, values in changes.items()}
    for name, values in parts.items():
        write(folder / f"{name}.json", values)
    return folder


def own_folder(folder: Path, **changes) -> Path:
    """Forget, retain and holdout, and what else is given."""
    for name, values in ({split: texts(split) for split in SPLITS} | changes).items():
        write(folder / f"{name}.json", values)
    return folder


def write(file: Path, values) -> None:
    """One array element a line, from line 2 on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def muse(path, **changes) -> MuseCorpus:
    settings = {"revision": None, "retain": "retain1", "folds": None, "fold": None}
    settings["allow_overlap"] = False
    return MuseCorpus(**{"path": str(path), **settings, **changes})


def custom(path, **changes) -> CustomCorpus:
    files = dict.fromkeys([*SPLITS, "forget_questions", "forget_examples", "verbatim"])
    files |= dict.fromkeys(["retain_questions", "retain_examples"])
    numbers = {"prompt_words": 5, "num_examples": 3, "num_items": 20, "allow_overlap": False}
    return CustomCorpus(**{"path": path and str(path), **files, **numbers, **changes})


SPLITS = ("forget", "retain", "holdout")
