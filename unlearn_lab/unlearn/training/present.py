"""Reads the weights of a model in training as its checkpoint would hold them."""

import re
from collections.abc import Iterator

from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.unlearn.training.adapter import Injected

_PARAMETRIZED = re.compile(r"parametrizations\.(\w+)\.original$")


def present_weights(
    model: PreTrainedModel, adapters: Injected | None
) -> Iterator[tuple[str, Tensor]]:
    """Yields every weight once, by the name that it has without parametrization or adapter.

    Weights with an adapter are yielded merged. The model stays as it is.

    Args:
        model: the model in training.
        adapters: what is trained in it; None if its own weights are.
    """
    for name, parameter in model.named_parameters():
        plain = _PARAMETRIZED.sub(r"\1", name)
        value = parameter.detach()
        found = (plain, value) if adapters is None else adapters.merged(plain, value)
        if found is not None:
            yield found
