"""What an adapter option is: few new weights that are trained beside the model's, then merged."""

from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel


@runtime_checkable
class Injected(Protocol):
    """The adapters of one training."""

    def merge(self) -> dict[str, object]:
        """Adds them to the model's own weights and takes them out; tells what was done."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """A kind of adapter with its settings."""

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` for a missing library, or a model that cannot have it."""
        ...

    def inject(self, model: PreTrainedModel, seed: int) -> Injected:
        """Puts adapters into the model, in place, and freezes everything else."""
        ...
