"""Protocols of objectives: functions from a model's predictions on a batch to loss terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from unlearn_lab.data.batch import Batch, Tokens
from unlearn_lab.unlearn.ranks import token_mean

CompareLogits = Callable[
    [Float[Tensor, "tokens vocabulary"], Float[Tensor, "tokens vocabulary"]],
    Float[Tensor, " tokens"],
]
"""Maps the logits of the reference and of the policy, in this order, to one value per token."""


@dataclass(frozen=True)
class LossTerms:
    """The loss to minimise (`total`) and its unweighted terms by name (`parts`)."""

    total: Float[Tensor, ""]
    parts: Mapping[str, Float[Tensor, ""]]


@runtime_checkable
class Policy(Protocol):
    """Predictions of the trained model on a batch of sequences, with gradients."""

    @property
    def num_tokens(self) -> Int[Tensor, " batch"]:
        """Number of predicted tokens per sequence: all but its first."""
        ...

    def token_log_likelihood(self) -> Float[Tensor, " tokens"]:
        """Returns log p of every predicted token, in nats, in row-major order."""
        ...

    def sequence_log_likelihood(self) -> Float[Tensor, " batch"]:
        """Returns the sum of token log-likelihoods of each sequence, in nats."""
        ...

    def against_reference(self, compare: CompareLogits, role: str) -> Float[Tensor, " tokens"]:
        """Applies `compare` at every predicted token; `role` is the split of the batch."""
        ...


@runtime_checkable
class Forward(Protocol):
    """Outputs of the policy and of the reference on a batch, computed on demand.

    The reference is the target, before training; it never receives gradients.
    """

    def policy(self, tokens: Tokens) -> Policy:
        """Returns the trained model's predictions on a batch."""
        ...

    def reference_log_likelihood(self, tokens: Tokens) -> Float[Tensor, " batch"]:
        """Returns the sequence log-likelihoods under the reference, in nats."""
        ...


@runtime_checkable
class ForgetTerm(Protocol):
    """A loss that is minimised by forgetting the batch.

    Attributes:
        needs_likelihood: whether it reads the reference's sequence log-likelihoods.
        needs_distribution: whether it reads the reference's logits.
    """

    needs_likelihood: ClassVar[bool]
    needs_distribution: ClassVar[bool]

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """Returns the loss of a forget batch."""
        ...


@runtime_checkable
class RetainTerm(Protocol):
    """A weighted loss that preserves the rest of the model's knowledge.

    Attributes:
        needs_distribution: whether it reads the reference's logits.
    """

    needs_distribution: ClassVar[bool]

    @property
    def weight(self) -> float:
        """Factor on the loss in the total."""
        ...

    def __call__(self, forward: Forward, retain: Tokens) -> Float[Tensor, ""]:
        """Returns the unweighted loss of a retain batch."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A loss on batches that contain the splits `roles`; an epoch is one pass over the first.

    Example:
        A minimal objective, gradient ascent on the forget split without a reference:

            from dataclasses import dataclass
            from unlearn_lab.unlearn.objectives.objective import LossTerms
            from unlearn_lab.unlearn.ranks import token_mean

            @dataclass(frozen=True, kw_only=True)
            class Ascent:
                roles, likelihood_of, distribution_of = ("forget",), (), ()

                def __call__(self, forward, batch):
                    forget = batch["forget"]
                    loss = token_mean(forward.policy(forget).token_log_likelihood(), forget)
                    return LossTerms(loss, {"forget": loss})
    """

    @property
    def roles(self) -> tuple[str, ...]:
        """Splits that a batch must contain."""
        ...

    @property
    def likelihood_of(self) -> tuple[str, ...]:
        """Splits whose sequence log-likelihoods under the reference are needed."""
        ...

    @property
    def distribution_of(self) -> tuple[str, ...]:
        """Splits whose logits under the reference are needed."""
        ...

    def __call__(self, forward: Forward, batch: Batch) -> LossTerms:
        """Returns the loss of a batch and its terms."""
        ...


@dataclass(frozen=True, kw_only=True)
class Unlearning:
    """Minimises the forget loss plus the weighted retain loss, if there is a retain term.

    min E_forget[L_forget] + weight * E_retain[L_retain] (Zhang et al., 2410.16454, Eq. 1).
    """

    forget: ForgetTerm
    retain: RetainTerm | None

    @property
    def roles(self) -> tuple[str, ...]:
        """The forget split, and the retain split if there is a retain term."""
        return ("forget",) if self.retain is None else ("forget", "retain")

    @property
    def likelihood_of(self) -> tuple[str, ...]:
        """The forget split if its term reads the reference's log-likelihoods."""
        return ("forget",) if self.forget.needs_likelihood else ()

    @property
    def distribution_of(self) -> tuple[str, ...]:
        """Splits whose terms read the reference's logits."""
        terms = {"forget": self.forget, "retain": self.retain}
        return tuple(r for r, term in terms.items() if term is not None and term.needs_distribution)

    def __call__(self, forward: Forward, batch: Batch) -> LossTerms:
        """Returns both terms and their weighted sum."""
        forget = self.forget(forward, batch["forget"])
        if self.retain is None:
            return LossTerms(forget, {"forget": forget})
        retain = self.retain(forward, batch["retain"])
        return LossTerms(forget + self.retain.weight * retain, {"forget": forget, "retain": retain})


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Ordinary fine-tuning: token-mean negative log-likelihood of the split `learn`, in nats."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The split `learn`."""
        return ("learn",)

    @property
    def likelihood_of(self) -> tuple[str, ...]:
        """No split: fine-tuning has no reference."""
        return ()

    @property
    def distribution_of(self) -> tuple[str, ...]:
        """No split: fine-tuning has no reference."""
        return ()

    def __call__(self, forward: Forward, batch: Batch) -> LossTerms:
        """Returns the loss, also as the term `learn`."""
        learn = batch["learn"]
        loss = -token_mean(forward.policy(learn).token_log_likelihood(), learn)
        return LossTerms(loss, {"learn": loss})
