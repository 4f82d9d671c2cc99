"""Samples tokens by the Gumbel-max trick, independently of the other rows in a batch."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_lab.evaluate.metric import Continue


class GumbelMax:
    """Logits processor after which argmax is a draw from softmax(logits / temperature).

    Rows of greedy requests keep their logits. argmax(logits / temperature - log E) with E ~ Exp(1),
    drawn anew for every token, has that distribution (Gumbel-max). E depends only on the seed, the
    sample's index, the prompt and the position, so every batch composition gives the same text,
    which a generator shared by the rows would not. Samples are from the whole vocabulary: the code
    released with Zhang et al. (arXiv 2410.16454), which samples at temperature 0.9, additionally
    applies the top-k and top-p of transformers and of the checkpoint's own generation settings.
    """

    def __init__(self, requests: Sequence[Continue]) -> None:
        self._generators = [_generator(request) for request in requests]
        self._temperatures = [
            1.0 if request.sampling is None else request.sampling.temperature
            for request in requests
        ]

    def __call__(
        self, _tokens: Int[Tensor, "batch _"], logits: Float[Tensor, "batch vocabulary"]
    ) -> Float[Tensor, "batch vocabulary"]:
        """Returns the logits with the noise of the next position; one call is one position."""
        if not any(self._generators):
            return logits
        temperatures = torch.tensor(self._temperatures, dtype=torch.float64)
        noise = torch.stack([self._noise(row, logits.shape[1]) for row in range(len(logits))])
        return logits.double() / temperatures.to(logits.device)[:, None] + noise.to(logits.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Removes all other rows."""
        self._generators = [self._generators[row] for row in rows]
        self._temperatures = [self._temperatures[row] for row in rows]

    def _noise(self, row: int, size: int) -> Float[Tensor, " vocabulary"]:
        generator, noise = self._generators[row], torch.zeros(size, dtype=torch.float64)
        return noise if generator is None else -noise.exponential_(generator=generator).log()


def _generator(request: Continue) -> torch.Generator | None:
    """Returns the generator of a request's noise, equal for equal requests; None for greedy."""
    sampling = request.sampling
    if sampling is None:
        return None
    name = f"{sampling.seed}/{sampling.index}/{request.prompt}".encode()
    # torch's CPU generator uses only 32 bits of a seed
    low_bits = int.from_bytes(hashlib.sha256(name).digest()[:4])
    return torch.Generator().manual_seed(low_bits)
