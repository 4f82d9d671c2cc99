"""What stands in front of a torch optimizer and passes for it: steps, state, checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer


class WrappedOptimizer(Optimizer):
    """Lets an inner optimizer do the work, with something done before and after its step.

    Schedulers, clipping and checkpoints look at `param_groups` and `state`; both are the inner
    optimizer's own. A wrapper says in `step_inner` what a step is, and hands over an inner
    optimizer made anew with `use`.
    """

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.use(inner)

    def step_inner(self, inner: Optimizer) -> None:
        """One step of the inner optimizer; gradients are there, and none are recorded."""
        raise NotImplementedError

    @property
    def inner_name(self) -> str:
        """The class of the optimizer that does the work."""
        return type(self._inner).__name__

    def use(self, inner: Optimizer) -> None:
        """Goes on with this inner optimizer."""
        self._inner = inner
        self.param_groups = inner.param_groups
        self.state = inner.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Computes the gradients, where a closure does that, then takes the step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.step_inner(self._inner)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's."""
        return self._inner.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inner optimizer's."""
        self._inner.load_state_dict(dict(state_dict))
        self.use(self._inner)
