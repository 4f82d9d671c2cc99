"""Fluency: n-gram entropy of generated text, low for a model that repeats itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from nltk.tokenize import NLTKWordTokenizer, PunktSentenceTokenizer

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.metric import Answers, Continue, Score
from unlearn_lab.evaluate.statistics import NUM_RESAMPLES, SEED, mean_interval


@dataclass(frozen=True, kw_only=True)
class Fluency:
    """N-gram entropy of generated text, in 100 x bits (Zhang et al., arXiv 1809.05972).

    The mean over greedy continuations of at most `num_tokens` tokens of the first `prompt_words`
    words of every holdout document. A text scores (2/3 H2 + 4/3 H3) / 2, where H2 and H3 are the
    entropies in bits of its word bigrams and trigrams. This is the form in the code of ROME (arXiv
    2202.05262), which reports 100 times the value, and of RWKU, which the quantization paper (arXiv
    2410.16454) follows, with values of 500 to 600. RWKU's texts answer up to 50 instructions in at
    most 256 tokens and ROME's include the prompt; longer texts have more entropy, so only numbers
    from equal prompts and lengths are comparable. An endless loop scores near 0. `items` rows:
    prompt, answer, score.
    """

    prompt_words: int
    num_tokens: int

    def __post_init__(self) -> None:
        """Raises `ValueError` for empty prompts or empty texts."""
        for name in ("prompt_words", "num_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")

    def missing(self, corpus: Corpus) -> str | None:
        """Reports missing holdout documents."""
        return None if corpus.holdout_documents else "the corpus has no holdout documents"

    def requests(self, corpus: Corpus) -> Sequence[Continue]:
        """Returns one request per holdout document, in corpus order."""
        return [self._request(text) for text in corpus.holdout_documents]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the documents; raises `ValueError` when the corpus has none."""
        if not corpus.holdout_documents:
            raise ValueError(
                "corpus.holdout_documents is empty: Fluency continues their beginnings"
            )
        asked = self.requests(corpus)
        written = [answers.text(request) for request in asked]
        per_item = tuple(100 * weighted_entropy(words(text)) for text in written)
        low, high = mean_interval(per_item, num_resamples=NUM_RESAMPLES, seed=SEED)
        return Score(
            value=sum(per_item) / len(per_item),
            low=low,
            high=high,
            per_item=per_item,
            items=tuple(
                {"prompt": request.prompt, "answer": text, "score": score}
                for request, text, score in zip(asked, written, per_item, strict=True)
            ),
        )

    def _request(self, text: str) -> Continue:
        prompt = " ".join(text.split()[: self.prompt_words])
        return Continue(prompt=prompt, num_tokens=self.num_tokens)


def words(text: str) -> list[str]:
    """Splits a text into words and punctuation marks with nltk.

    Sentences are split by Punkt without its list of abbreviations, which would have to be
    downloaded: the full stop of "Mr." becomes a separate word.
    """
    sentences = PunktSentenceTokenizer().tokenize(text)
    return [word for sentence in sentences for word in NLTKWordTokenizer().tokenize(sentence)]


def weighted_entropy(sequence: Sequence[str]) -> float:
    """Returns (2/3 H2 + 4/3 H3) / 2 in bits; the entropy of no n-grams is 0."""
    bigrams = list(pairwise(sequence))
    trigrams = list(zip(sequence, sequence[1:], sequence[2:], strict=False))
    return (2 / 3 * _entropy(bigrams) + 4 / 3 * _entropy(trigrams)) / 2


def _entropy(ngrams: Sequence[tuple[str, ...]]) -> float:
    shares = np.asarray(list(Counter(ngrams).values())) / max(1, len(ngrams))
    return float(-(shares * np.log2(shares)).sum())
