"""Decides where an answer to a few-shot question ends, and which true answers cannot be reached."""

from collections.abc import Callable, Sequence

STOPS = ("\n\n", "\nQuestion", "Question:")
"""What begins the next question, and ends an answer (MUSE, Shi et al., arXiv 2407.06460)."""


def cut_answer(text: str) -> str:
    """The text before the first blank line or sign of another question, stripped."""
    for stop in STOPS:
        text = text.split(stop)[0]
    return text.strip()


def unanswerable(
    answers: Sequence[str], most: int, length: Callable[[str], int]
) -> dict[str, list[int]]:
    """The places of true answers that no model can give in full, by what is wrong with them.

    An answer may be `most` tokens long; `length` counts those of a text, or words at least.
    """
    stops = ", ".join(repr(stop)[1:-1] for stop in STOPS)
    found = {
        f"true answers hold what ends an answer ({stops})": [
            place for place, one in enumerate(answers) if cut_answer(one) != one.strip()
        ],
        f"true answers are longer than an answer may be ({most} tokens)": [
            place for place, one in enumerate(answers) if length(one) > most
        ],
    }
    return {what: places for what, places in found.items() if places}
