"""VerbMem: does the model still continue a forget text word for word?"""

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_lab.data.corpus import Corpus, VerbatimPrompt
from unlearn_lab.evaluate.metric import Answers, Continue, Score
from unlearn_lab.evaluate.rouge import score_answers


@dataclass(frozen=True, kw_only=True)
class VerbMem:
    """ROUGE-L F1 x 100 of greedy continuations of forget texts (MUSE, arXiv 2407.06460).

    Answer and truth are cut to `num_tokens` tokens. The released quantization code samples at
    temperature 0.9 and counts BOS as one of the true tokens; this decodes greedily, as MUSE does,
    and counts text tokens only. `items` rows: prompt, answer, true, score.
    """

    num_tokens: int

    def __post_init__(self) -> None:
        """Refuses an empty continuation."""
        if self.num_tokens < 1:
            raise ValueError(f"num_tokens={self.num_tokens}: must be at least 1")

    def requests(self, corpus: Corpus) -> Sequence[Continue]:
        """One continuation per verbatim prompt, in corpus order."""
        return [self._request(item) for item in corpus.verbatim]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """The mean over the verbatim prompts; raises `ValueError` when the corpus has none."""
        if not corpus.verbatim:
            raise ValueError(
                "corpus.verbatim is empty: VerbMem needs at least one prompt with its continuation"
            )
        return score_answers(
            [
                {
                    "prompt": item.prompt,
                    "answer": answers.text(self._request(item)),
                    "true": answers.truncate(item.continuation, self.num_tokens),
                }
                for item in corpus.verbatim
            ]
        )

    def _request(self, item: VerbatimPrompt) -> Continue:
        return Continue(prompt=item.prompt, num_tokens=self.num_tokens)
