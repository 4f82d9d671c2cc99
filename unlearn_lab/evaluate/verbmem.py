"""VerbMem: does the model still continue a forget text word for word?"""

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_lab.data.corpus import Corpus, VerbatimPrompt
from unlearn_lab.evaluate.metric import Answers, Continue, Sampling, Score
from unlearn_lab.evaluate.rouge import score_samples


@dataclass(frozen=True, kw_only=True)
class VerbMem:
    """ROUGE-L F1 x 100 of continuations of forget texts (MUSE, arXiv 2407.06460).

    Answer and truth are cut to `num_tokens` tokens. Greedy where `temperature` is None, as MUSE
    does; otherwise a prompt's score is the mean over `num_samples` texts drawn with `seed`. The
    code released with Zhang et al. (arXiv 2410.16454) draws one text at temperature 0.9, and
    counts BOS as one of the true tokens; this counts text tokens only. `items` rows: prompt,
    answer, true, score, all prompts' first sample before the second ones.
    """

    num_tokens: int
    temperature: float | None
    num_samples: int
    seed: int

    def __post_init__(self) -> None:
        """Refuses an empty continuation, and samples that would all be the same or none."""
        for name in ("num_tokens", "num_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.temperature is None and self.num_samples != 1:
            raise ValueError(
                f"num_samples={self.num_samples}: greedy samples are all the same; use 1, or set "
                "temperature"
            )
        self._samplings()

    def missing(self, corpus: Corpus) -> str | None:
        """Prompts with their true continuation are needed."""
        return None if corpus.verbatim else "the corpus has no prompts with their continuation"

    def requests(self, corpus: Corpus) -> Sequence[Continue]:
        """The continuations of all verbatim prompts in corpus order, sample by sample."""
        return [
            self._request(item, sampling)
            for sampling in self._samplings()
            for item in corpus.verbatim
        ]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """The mean over the verbatim prompts; raises `ValueError` when the corpus has none."""
        if not corpus.verbatim:
            raise ValueError(
                "corpus.verbatim is empty: VerbMem needs at least one prompt with its continuation"
            )
        return score_samples(
            [
                [
                    {
                        "prompt": item.prompt,
                        "answer": answers.text(self._request(item, sampling)),
                        "true": answers.truncate(item.continuation, self.num_tokens),
                    }
                    for item in corpus.verbatim
                ]
                for sampling in self._samplings()
            ]
        )

    def _samplings(self) -> list[Sampling | None]:
        """How each sample is drawn; a single None when decoding is greedy."""
        if self.temperature is None:
            return [None]
        return [
            Sampling(temperature=self.temperature, seed=self.seed, index=index)
            for index in range(self.num_samples)
        ]

    def _request(self, item: VerbatimPrompt, sampling: Sampling | None) -> Continue:
        return Continue(prompt=item.prompt, num_tokens=self.num_tokens, sampling=sampling)
