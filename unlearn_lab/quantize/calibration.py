"""Decides the calibration set of a quantizer: text source, number of sequences, their length."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.leaks import NEAR
from unlearn_lab.data.runs import Index
from unlearn_lab.data.texts import TextSource
from unlearn_lab.data.tokenise import encode
from unlearn_lab.data.typed import PreTrainedTokenizerBase

SOURCES = {
    "generic": ("generic",),
    "retain": ("retain",),
    "forget": ("forget",),
    "mixed": ("generic", "retain"),
}
"""Text sources of each name; with several, the samples are divided evenly."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibration set: `num_samples` sequences of `length` tokens each.

    `forget` is never mixed with another source: a quantizer tuned on the forget set no longer shows
    whether quantization alone restores it. Raises `ValueError` for values other than those listed.

    Attributes:
        source: `generic` (texts of `text`, unrelated to the corpus), `retain`, `mixed` (half
            generic, half retain), or `forget`.
        num_samples: number of sequences, at least 1 (2 for `mixed`).
        length: tokens per sequence, at least 1.
        seed: seed of the order of texts.
        text: source of generic texts; None only if `source` does not need them.
    """

    source: str
    num_samples: int
    length: int
    seed: int
    text: TextSource | None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"source={self.source!r}: must be one of {', '.join(SOURCES)}")
        for name in ("num_samples", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.num_samples < len(SOURCES[self.source]):
            raise ValueError(f"num_samples={self.num_samples}: must be at least 2 for mixed")
        if "generic" in SOURCES[self.source] and self.text is None:
            raise ValueError(
                f"text=null: source={self.source} needs texts; choose generic_text=hf, or "
                "quant/calibration=retain"
            )

    def draw(
        self, corpus: Corpus, tokenizer: PreTrainedTokenizerBase
    ) -> Int[Tensor, "samples length"]:
        """Returns sequences cut from one stream of shuffled texts, without padding.

        Padding would count as calibration data. Raises `ValueError` when there is too little text,
        or when texts of another source are forget texts.
        """
        sources = SOURCES[self.source]
        share, rest = divmod(self.num_samples, len(sources))
        return torch.cat(
            [
                self._sequences(source, corpus, tokenizer, share + (place < rest))
                for place, source in enumerate(sources)
            ]
        )

    def _sequences(
        self, source: str, corpus: Corpus, tokenizer: PreTrainedTokenizerBase, num_samples: int
    ) -> Tensor:
        texts = self._texts(source, corpus)
        if source != "forget":
            self._refuse_forget(source, texts, corpus)
        order = random.Random(self.seed).sample(range(len(texts)), len(texts))
        sequences = encode([texts[index] for index in order], tokenizer, max_length=2**30)
        stream = torch.cat([torch.empty(0, dtype=torch.long), *sequences])
        found = len(stream) // self.length
        if found < num_samples:
            raise ValueError(
                f"num_samples={self.num_samples}: the {source} texts hold {found} sequences of "
                f"{self.length} tokens, of which {num_samples} are needed; choose fewer or shorter "
                "ones"
            )
        return stream[: num_samples * self.length].reshape(num_samples, self.length)

    def _texts(self, source: str, corpus: Corpus) -> Sequence[str]:
        if source == "generic" and self.text is not None:
            return self.text.load()
        return corpus.texts(source)

    def _refuse_forget(self, source: str, texts: Sequence[str], corpus: Corpus) -> None:
        """Raises `ValueError` for texts that share most of their word runs with forget texts."""
        secret = Index(corpus.texts("forget"))
        found = sum(secret.share(text)[0] > NEAR for text in texts)
        if found:
            raise ValueError(
                f"source={self.source}: {found} of the {source} texts are forget texts; take them "
                "out, or calibrate on the forget set by its name: quant/calibration=forget"
            )
