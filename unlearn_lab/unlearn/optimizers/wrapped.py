"""Wraps a torch optimizer behind the optimizer interface: steps, state, checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer


class WrappedOptimizer(Optimizer):
    """Delegates to an inner optimizer, with extra work around its step.

    Schedulers, clipping and checkpoints read `param_groups` and `state`; both are the inner
    optimizer's. A subclass implements `step_inner`, and calls `use` to replace the inner optimizer.
    """

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.use(inner)

    def step_inner(self, inner: Optimizer) -> None:
        """Takes one step of the inner optimizer; called after backward, with autograd off."""
        raise NotImplementedError

    @property
    def inner_name(self) -> str:
        """Class name of the inner optimizer."""
        return type(self._inner).__name__

    def use(self, inner: Optimizer) -> None:
        """Replaces the inner optimizer."""
        self._inner = inner
        self.param_groups = inner.param_groups
        self.state = inner.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluates the closure, if there is one, takes the step and returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.step_inner(self._inner)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Returns the inner optimizer's state."""
        return self._inner.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads the inner optimizer's state."""
        self._inner.load_state_dict(dict(state_dict))
        self.use(self._inner)
