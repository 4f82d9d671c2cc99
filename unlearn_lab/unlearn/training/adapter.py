"""Protocol of adapters: few additional weights that are trained, then merged into the model."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel


@runtime_checkable
class Injected(Protocol):
    """Adapters injected into a model for one training."""

    def merged(self, name: str, parameter: Tensor) -> tuple[str, Tensor] | None:
        """Returns a parameter's name and value as after `merge`, which stays to be done.

        None for a parameter that `merge` removes.

        Args:
            name: the parameter's name in the model with adapters.
            parameter: its value.
        """
        ...

    def merge(self) -> dict[str, object]:
        """Merges the adapters into the model's weights, removes them, and returns the facts."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """A kind of adapter, with its settings."""

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` for a missing library, or a model that cannot take the adapter."""
        ...

    def inject(self, model: PreTrainedModel, seed: int) -> Injected:
        """Injects adapters into the model, in place, and freezes everything else."""
        ...
