"""VerbMem: scores how literally the model continues forget texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_lab.data.corpus import Corpus, VerbatimPrompt
from unlearn_lab.evaluate.metric import Answers, Continue, Sampling, Score
from unlearn_lab.evaluate.rouge import score_samples


@dataclass(frozen=True, kw_only=True)
class VerbMem:
    """ROUGE-L F1 x 100 of continuations of forget texts (MUSE, arXiv 2407.06460).

    The code released with Zhang et al. (arXiv 2410.16454) draws one text at temperature 0.9, and
    counts BOS as one of the true tokens; here only text tokens count. `items` rows: prompt, answer,
    true, score, with the first sample of all prompts before the second.

    Attributes:
        num_tokens: length to which answer and ground truth are truncated, at least 1.
        temperature: sampling temperature; None decodes greedily, as MUSE does.
        num_samples: number of samples per prompt, whose scores are averaged; 1 if greedy.
        seed: seed of the samples.
    """

    num_tokens: int
    temperature: float | None
    num_samples: int
    seed: int

    def __post_init__(self) -> None:
        """Raises `ValueError` for an empty continuation, no samples, or several greedy samples."""
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
        """Reports missing prompts with their true continuation."""
        return None if corpus.verbatim else "the corpus has no prompts with their continuation"

    def requests(self, corpus: Corpus) -> Sequence[Continue]:
        """Returns a request per verbatim prompt in corpus order, sample by sample."""
        return [
            self._request(item, sampling)
            for sampling in self._samplings()
            for item in corpus.verbatim
        ]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the prompts; raises `ValueError` when the corpus has none."""
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
        """Returns the settings of each sample; a single None for greedy decoding."""
        if self.temperature is None:
            return [None]
        return [
            Sampling(temperature=self.temperature, seed=self.seed, index=index)
            for index in range(self.num_samples)
        ]

    def _request(self, item: VerbatimPrompt, sampling: Sampling | None) -> Continue:
        return Continue(prompt=item.prompt, num_tokens=self.num_tokens, sampling=sampling)
