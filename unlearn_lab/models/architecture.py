"""Compares the architectures of two checkpoints by their configurations."""

from unlearn_lab.data.typed import PretrainedConfig

_SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def difference(
    ours: PretrainedConfig, theirs: PretrainedConfig, *, compare_type: bool = True
) -> str | None:
    """Returns the first difference between two architectures, in words; None if there is none.

    Args:
        ours: configuration of the model at `model.path`.
        theirs: configuration of the other checkpoint.
        compare_type: False compares sizes only, because GGUF names some architectures differently.
    """
    ours, theirs = ours.get_text_config(), theirs.get_text_config()
    if compare_type and ours.model_type != theirs.model_type:
        return f"is a {theirs.model_type} model, and model.path is a {ours.model_type} model"
    for name in _SIZES:
        one, other = getattr(ours, name, None), getattr(theirs, name, None)
        if one is not None and other is not None and one != other:
            return f"has {name}={other}, and model.path has {one}"
    return None
