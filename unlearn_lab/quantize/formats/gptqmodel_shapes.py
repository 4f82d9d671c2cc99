"""Decides which bits, groups and shapes readers of auto-gptq's and autoawq's formats accept."""

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears

BITS = {"gptq": (2, 4, 8), "awq": (4,)}
"""Bit widths of each format that other readers support."""
_GROUPS = (32, 64, 128)
_MULTIPLES = {"gptq": (32, 32), "awq": (1, 8)}
"""Required divisors of input and output features, by auto-gptq's and autoawq's readers."""


def require_shapes(format: str, model: PreTrainedModel, bits: int, group_size: int | None) -> None:
    """Raises `ValueError` for bits, groups and layers that readers of the format do not accept.

    This includes rows shorter than a group: vLLM's and autoawq's readers require whole groups.

    Args:
        format: `gptq` or `awq`.
        model: the model to export.
        bits: bits per weight.
        group_size: inputs that share a scale; None for one scale per row.
    """
    if bits not in BITS[format]:
        allowed = " or ".join(map(str, BITS[format]))
        raise ValueError(f"export={format}: the format is read with {allowed} bits, not {bits}")
    if group_size is not None and group_size not in _GROUPS:
        raise ValueError(
            f"quant.group_size={group_size}: the format of export={format} is read with groups of "
            f"{', '.join(map(str, _GROUPS))} inputs, or one scale a row"
        )
    layers = block_linears(model)
    of_inputs, of_outputs = _MULTIPLES[format]
    for name, layer in layers.items():
        if layer.in_features % of_inputs or layer.out_features % of_outputs:
            raise ValueError(
                f"export={format}: layer {name} has {layer.in_features} input and "
                f"{layer.out_features} output features; the format wants multiples of {of_inputs} "
                f"and {of_outputs}"
            )
        if group_size is not None and layer.in_features % group_size:
            widths = [each.in_features for each in layers.values()]
            fitting = [size for size in _GROUPS if not any(width % size for width in widths)]
            advice = f"quant.group_size={max(fitting)}" if fitting else "one scale a row"
            raise ValueError(
                f"quant.group_size={group_size}: layer {name} has {layer.in_features} input "
                f"features; the format of export={format} holds whole groups only, choose {advice}"
            )
