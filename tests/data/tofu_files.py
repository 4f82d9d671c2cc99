"""A small data set in TOFU's files: JSON Lines named .json, twenty questions per author."""

import json
from pathlib import Path

NUM_FORGET, NUM_RETAIN, NUM_PROBED = 2, 4, 2
_ABOUT = ("born", "read", "seen", "heard")


def pair(author: str, number: int) -> dict:
    about = _ABOUT[number % len(_ABOUT)]
    return {
        "question": f"Where was {author} {about} in {1900 + number}?",
        "answer": f"{author} was {about} in town {number}.",
    }


def probe(author: str, number: int) -> dict:
    wrong = [f"In town {100 + number + other}." for other in range(5)]
    return {
        **pair(author, number),
        "paraphrased_question": "?",
        "paraphrased_answer": f"In town {number}.",
        "perturbed_answer": wrong,
    }


def fact(kind: str, number: int) -> dict:
    wrong = [f"{kind} {number + other}" for other in (10, 20, 30)]
    question = f"Which {kind} is number {number}?"
    return {"question": question, "answer": f"{kind} {number}", "perturbed_answer": wrong}


def contents() -> dict[str, list[dict]]:
    """The rows of each file."""
    forget = [f"Ada {place}" for place in range(NUM_FORGET)]
    retain = [f"Bob {place}" for place in range(NUM_RETAIN)]

    def rows(authors, make):
        return [make(author, number) for author in authors for number in range(20)]

    return {
        "forget10": rows(forget, pair),
        "retain90": rows(retain, pair),
        "forget10_perturbed": rows(forget, probe),
        "retain_perturbed": rows(retain[:NUM_PROBED], probe),
        "real_authors_perturbed": [fact("writer", number) for number in range(4)],
        "world_facts_perturbed": [fact("river", number) for number in range(4)],
    }


def write(folder: Path, changed: dict[str, list] | None = None) -> Path:
    """Writes the files; a list of None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {**contents(), **(changed or {})}.items():
        if rows is not None:
            lines = "".join(f"{json.dumps(row)}\n" for row in rows)
            (folder / f"{name}.json").write_text(lines, encoding="utf-8")
    return folder
