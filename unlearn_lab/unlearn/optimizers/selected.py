"""Restricts a torch optimizer to chosen units of the weights, optionally on float32 copies."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from unlearn_lab.unlearn.optimizers.mask import kept_units
from unlearn_lab.unlearn.optimizers.rounding import step_generator, stochastic_round
from unlearn_lab.unlearn.optimizers.units import Layout
from unlearn_lab.unlearn.optimizers.wrapped import WrappedOptimizer

OptimizerFactory = Callable[[Iterable[Parameter]], Optimizer]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The chosen units of one parameter.

    Attributes:
        parameter: the parameter.
        layout: how it divides into units.
        units: indices of the chosen units; None for all.
    """

    parameter: Parameter
    layout: Layout
    units: Int[Tensor, " kept"] | None

    def take(self, values: Tensor) -> Tensor:
        """Returns the chosen units of a tensor of the parameter's shape; a copy unless all are."""
        return values if self.units is None else self.layout.take(values, self.units)

    def put(self, values: Tensor, new: Tensor) -> None:
        """Overwrites the chosen units of a tensor of the parameter's shape, in place."""
        if self.units is None:
            values.copy_(new)
        else:
            self.layout.put(values, self.units, new)


class SelectedOptimizer(WrappedOptimizer):
    """Applies any torch optimizer to chosen units of the weights; all others keep their bits.

    The inner optimizer works on copies of the chosen units, so that its weight decay, momentum and
    other effects cannot reach the rest; its state is smaller accordingly. `gather` moves the
    gradients to the copies: call it before clipping, so that the clipped norm is that of the chosen
    units; `step` calls it in any case. A parameter chosen whole is optimized directly, without a
    copy.

    With `rounding_seed`, every parameter has a float32 copy (and the optimizer float32 state), and
    the result is rounded stochastically to the parameter's bfloat16. The copies take 4 bytes per
    chosen weight, and their gradients as much again during a step.

    Args:
        parts: the chosen units, by parameter name; at least one.
        make: builds the inner optimizer from its parameters.
        rounding_seed: seed of the stochastic rounding; None for none.
    """

    def __init__(
        self, parts: Mapping[str, Part], make: OptimizerFactory, *, rounding_seed: int | None
    ) -> None:
        if not parts:
            raise ValueError("no parameter has a chosen unit: there is nothing to optimize")
        self._parts = dict(parts)
        self._make = make
        self._rounding_seed = rounding_seed
        self._num_steps = 0
        self._copies = self._copy_all()
        super().__init__(make(list(self._copies.values())))

    @torch.no_grad()
    def gather(self) -> None:
        """Moves the gradients of the chosen units to their copies and frees the full ones."""
        for name, part in self._parts.items():
            copy = self._copies[name]
            if copy is not part.parameter and part.parameter.grad is not None:
                copy.grad = part.take(part.parameter.grad).to(copy.dtype)
                part.parameter.grad = None

    def step_inner(self, inner: Optimizer) -> None:
        """Takes one step of the inner optimizer on the chosen units."""
        self.gather()
        copied = [(p, self._copies[n]) for n, p in self._parts.items()]
        copied = [(part, copy) for part, copy in copied if copy is not part.parameter]
        for part, copy in copied:
            copy.copy_(part.take(part.parameter))
        inner.step()
        rounding = self._rounding(copied)
        for part, copy in copied:
            part.put(part.parameter, rounding(copy))
            copy.grad = None
        self._num_steps += 1

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of the parameters and of the copies."""
        super().zero_grad(set_to_none)
        for part in self._parts.values():
            part.parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the inner optimizer's state, the chosen units and the number of steps."""
        units = {name: part.units for name, part in self._parts.items()}
        return {**super().state_dict(), "units": units, "num_steps": self._num_steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the inner optimizer's state, the chosen units and the number of steps.

        Raises `ValueError` if they belong to other parameters.
        """
        state = dict(state_dict)
        units, self._num_steps = state.pop("units"), state.pop("num_steps")
        if units.keys() != self._parts.keys():
            differing = ", ".join(sorted(units.keys() ^ self._parts.keys()))
            raise ValueError(f"the checkpoint's optimizer holds other parameters: {differing}")
        self._parts = {
            name: Part(
                parameter=part.parameter,
                layout=part.layout,
                units=None if units[name] is None else units[name].to(part.parameter.device),
            )
            for name, part in self._parts.items()
        }
        self._make_inner()
        super().load_state_dict(state)

    def choose(self, parts: Mapping[str, Part]) -> None:
        """Switches to other units and restarts the inner optimizer with its current settings.

        Its state is dropped because it would give newly chosen units a wrong bias correction: AdamW
        counts steps per parameter, not per unit.
        """
        settings = {k: v for k, v in self.param_groups[0].items() if k != "params"}
        self._parts = dict(parts)
        self._make_inner()
        self.param_groups[0].update(settings)

    def _make_inner(self) -> None:
        self._copies = self._copy_all()
        self.use(self._make(list(self._copies.values())))

    def _copy_all(self) -> dict[str, Parameter]:
        return {name: self._copy(part) for name, part in self._parts.items()}

    def _copy(self, part: Part) -> Parameter:
        if self._rounding_seed is not None:
            return Parameter(part.take(part.parameter.detach()).to(torch.float32, copy=True))
        if part.units is None:
            return part.parameter
        return Parameter(part.take(part.parameter.detach()))

    def _rounding(self, copied: list[tuple[Part, Parameter]]) -> Callable[[Tensor], Tensor]:
        if self._rounding_seed is None or not copied:
            return torch.Tensor.detach
        device = copied[0][1].device
        generator = step_generator(self._rounding_seed, self._num_steps, device)
        return lambda copy: stochastic_round(copy.detach(), generator)


def parts_of(
    parameters: Mapping[str, Parameter],
    layouts: Mapping[str, Layout],
    mask: Mapping[str, Tensor],
    *,
    empty: bool = False,
) -> dict[str, Part]:
    """Returns the chosen units by parameter; with `empty` also parameters without any."""
    return {
        name: Part(
            parameter=parameters[name],
            layout=layouts[name],
            units=kept_units(kept, parameters[name].device),
        )
        for name, kept in mask.items()
        if empty or bool(kept.any())
    }
