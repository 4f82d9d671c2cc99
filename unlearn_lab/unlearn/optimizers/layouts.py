"""The units of the trained weights, by parameter; which parameters take part."""

import re
from collections.abc import Mapping

from torch.nn import Parameter
from transformers import PreTrainedModel

from unlearn_lab.unlearn.optimizers.units import Granularity, Layout, is_attention, layout


def layouts_of(
    model: PreTrainedModel,
    parameters: Mapping[str, Parameter],
    granularity: Granularity,
    modules: str | None,
) -> dict[str, Layout]:
    """The units of every parameter that takes part, by its name.

    Raises `ValueError` when there is none, or a parameter does not fall into such units.
    """
    pattern = compiled(modules)
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    size = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else None)
    found = {
        name: layout(name, tuple(parameter.shape), granularity, size)
        for name, parameter in parameters.items()
        if pattern.search(name)
    }
    if not found:
        known = ", ".join(list(parameters)[:3])
        raise ValueError(
            f"modules={modules}: found in no name of a trained parameter ({known} ...); give a "
            "regular expression such as mlp or layers.[0-3]., or null"
        )
    if granularity == "head" and not any(is_attention(name) for name in found):
        raise ValueError(
            "granularity=head: no attention projection q_proj, k_proj or v_proj takes part; choose "
            "row, matrix or weight"
        )
    return found


def compiled(modules: str | None) -> re.Pattern[str]:
    """The regular expression, null being one that is found everywhere.

    Raises `ValueError` for what is none.
    """
    try:
        return re.compile(modules or "")
    except re.error as error:
        raise ValueError(f"modules={modules}: is no regular expression ({error})") from error
