"""What an objective is: a function from the model's predictions on a batch to named loss terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from unlearn_lab.data.batch import Batch, Tokens
from unlearn_lab.unlearn.ranks import batch_mean

CompareLogits = Callable[
    [Float[Tensor, "tokens vocabulary"], Float[Tensor, "tokens vocabulary"]],
    Float[Tensor, " tokens"],
]
"""A figure per token from the logits of the reference and of the policy, in this order."""


@dataclass(frozen=True)
class LossTerms:
    """The loss to minimise and the terms that it is made of, unweighted, by name."""

    total: Float[Tensor, ""]
    parts: Mapping[str, Float[Tensor, ""]]


@runtime_checkable
class Policy(Protocol):
    """The trained model's view of a batch of sequences, with gradients."""

    @property
    def num_tokens(self) -> Int[Tensor, " batch"]:
        """How many tokens of each sequence are predicted: all but its first."""
        ...

    def token_log_likelihood(self) -> Float[Tensor, " tokens"]:
        """The log p of every predicted token, in row-major order."""
        ...

    def sequence_log_likelihood(self) -> Float[Tensor, " batch"]:
        """The sum of each sequence's token log-likelihoods."""
        ...

    def against_reference(self, compare: CompareLogits, role: str) -> Float[Tensor, " tokens"]:
        """`compare` of every predicted token of a batch of the split `role`."""
        ...


@runtime_checkable
class Forward(Protocol):
    """Runs the models on a batch, lazily.

    The reference (the target, before training) never takes gradients.
    """

    def policy(self, tokens: Tokens) -> Policy:
        """The trained model's prediction of a batch."""
        ...

    def reference_log_likelihood(self, tokens: Tokens) -> Float[Tensor, " batch"]:
        """The reference's sequence log-likelihoods."""
        ...


@runtime_checkable
class ForgetTerm(Protocol):
    """A loss whose minimum is reached by forgetting the batch.

    `needs_likelihood`: it compares with the reference's sequence log-likelihoods;
    `needs_distribution`: with the reference's logits.
    """

    needs_likelihood: ClassVar[bool]
    needs_distribution: ClassVar[bool]

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """The loss of a forget batch."""
        ...


@runtime_checkable
class RetainTerm(Protocol):
    """A weighted loss that keeps the rest of the model's knowledge.

    `needs_distribution`: it compares with the reference's token distributions.
    """

    needs_distribution: ClassVar[bool]

    @property
    def weight(self) -> float:
        """The factor on the loss in the total."""
        ...

    def __call__(self, forward: Forward, retain: Tokens) -> Float[Tensor, ""]:
        """The unweighted loss of a retain batch."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A loss over a batch that holds the splits `roles`; an epoch is one pass over the first."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The splits that a batch must hold."""
        ...

    @property
    def likelihood_of(self) -> tuple[str, ...]:
        """The splits whose sequence log-likelihoods under the reference are compared with."""
        ...

    @property
    def distribution_of(self) -> tuple[str, ...]:
        """The splits whose token distributions under the reference are compared with."""
        ...

    def __call__(self, forward: Forward, batch: Batch) -> LossTerms:
        """The loss of a batch and its terms."""
        ...


@dataclass(frozen=True, kw_only=True)
class Unlearning:
    """min E_forget[L_forget] + weight * E_retain[L_retain] (Zhang et al., 2410.16454, Eq. 1)."""

    forget: ForgetTerm
    retain: RetainTerm | None

    @property
    def roles(self) -> tuple[str, ...]:
        """The forget split, and the retain split where there is a term for it."""
        return ("forget",) if self.retain is None else ("forget", "retain")

    @property
    def likelihood_of(self) -> tuple[str, ...]:
        """The forget split for a preference term."""
        return ("forget",) if self.forget.needs_likelihood else ()

    @property
    def distribution_of(self) -> tuple[str, ...]:
        """The splits of the terms that compare logits."""
        terms = {"forget": self.forget, "retain": self.retain}
        return tuple(r for r, term in terms.items() if term is not None and term.needs_distribution)

    def __call__(self, forward: Forward, batch: Batch) -> LossTerms:
        """Both terms, and their weighted sum."""
        forget = self.forget(forward, batch["forget"])
        if self.retain is None:
            return LossTerms(forget, {"forget": forget})
        retain = self.retain(forward, batch["retain"])
        return LossTerms(forget + self.retain.weight * retain, {"forget": forget, "retain": retain})


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Ordinary fine-tuning: the token-mean negative log-likelihood of the split `learn`."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The split `learn`."""
        return ("learn",)

    @property
    def likelihood_of(self) -> tuple[str, ...]:
        """None: there is no reference."""
        return ()

    @property
    def distribution_of(self) -> tuple[str, ...]:
        """None: there is no reference."""
        return ()

    def __call__(self, forward: Forward, batch: Batch) -> LossTerms:
        """The loss, under the name `learn`."""
        loss = -batch_mean(forward.policy(batch["learn"]).token_log_likelihood())
        return LossTerms(loss, {"learn": loss})
