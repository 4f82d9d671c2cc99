"""What a valid corpus cannot tell, or tells badly: warnings, by metric."""

from collections.abc import Iterator

from unlearn_lab.data.corpus import Corpus

FEW = 20
"""Items of a metric, below which its bootstrap interval is too wide to conclude from."""


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
