"""What a valid corpus cannot tell, or tells badly: warnings, by metric."""

import re
from collections.abc import Iterator, Mapping

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.parts import Part

FEW = 20
"""Items of a metric, below which its bootstrap interval is too wide to conclude from."""
_LEAST_SHARE = 0.2
"""Of a text's letters and digits that must be a-z or 0-9 for ROUGE to have words to compare."""
_SCORED = re.compile("[a-z0-9]")


def weaknesses(corpus: Corpus) -> Iterator[str]:
    """Missing and scarce questions, prompts and documents; answers that are shown and asked for."""
    yield from _missing(corpus)
    counts = {
        "VerbMem: {} prompts": len(corpus.verbatim),
        "KnowMem: {} questions about the forget texts": len(corpus.forget_questions),
        "Utility: {} questions about the retain texts": len(corpus.retain_questions),
        "PrivLeak: {} forget texts": len(corpus.forget_documents),
        "PrivLeak: {} holdout texts": len(corpus.holdout_documents),
    }
    for what, count in counts.items():
        if 0 < count < FEW:
            yield f"{what.format(count)}; with fewer than {FEW} the intervals are wide"
    for split in ("forget", "retain"):
        shown = {example.question for example in getattr(corpus, f"{split}_examples")}
        asked = [item.question for item in getattr(corpus, f"{split}_questions")]
        if num_told := sum(question in shown for question in asked):
            yield f"{num_told} of the {split} questions are among the examples, answer and all"


def foreign_script(parts: Mapping[str, Part]) -> Iterator[str]:
    """Parts whose scored texts have hardly any of the letters and digits that ROUGE counts."""
    for name, part in parts.items():
        if part.columns == ("text",) and name not in ("forget", "raw/forget"):
            continue
        num_foreign = sum(_is_foreign(item.values[-1]) for item in part.items)
        if num_foreign:
            yield (
                f"{part.place}: {num_foreign} of {len(part.items)} have hardly a letter a-z or a "
                "digit, the only ones that ROUGE counts; VerbMem and KnowMem would be 0 on them"
            )


def _missing(corpus: Corpus) -> Iterator[str]:
    if corpus.forget_questions and not corpus.retain_questions:
        yield (
            "questions about the forget texts but none about the retain texts: Utility will be "
            "skipped, so that a model that forgot everything cannot be told from a good one"
        )
    elif corpus.retain_questions and not corpus.forget_questions:
        yield "no questions about the forget texts: KnowMem will be skipped"
    elif not corpus.forget_questions:
        yield "no questions: KnowMem and Utility will be skipped"


def _is_foreign(text: str) -> bool:
    num_characters = sum(character.isalnum() for character in text)
    num_scored = len(_SCORED.findall(text.lower()))
    return num_scored < _LEAST_SHARE * num_characters or num_scored == 0 < len(text.strip())
