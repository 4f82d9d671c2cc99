"""Decides where a few-shot answer ends, and which ground-truth answers no model can reach."""

from collections.abc import Callable, Sequence

STOPS = ("\n\n", "\nQuestion", "Question:")
"""Stop strings of an answer: how the next question begins (MUSE, Shi et al., arXiv 2407.06460)."""


def cut_answer(text: str) -> str:
    """Returns the text before the first stop string (`STOPS`), stripped."""
    for stop in STOPS:
        text = text.split(stop)[0]
    return text.strip()


def unanswerable(
    answers: Sequence[str], most: int, length: Callable[[str], int]
) -> dict[str, list[int]]:
    """Finds ground-truth answers that no model can give in full.

    Args:
        answers: the ground-truth answers.
        most: longest answer that is generated, in tokens.
        length: counts a text's tokens, or its words as a lower bound.

    Returns:
        The indices of the answers, by fault; only faults that occur.
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
