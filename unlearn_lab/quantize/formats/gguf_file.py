"""Writes a Llama-type model as a .gguf file with bit-identical weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.gguf import pack, tensor_type

_FILE_TYPES = {"q4_0": 2, "q8_0": 7}
"""llama.cpp's `general.file_type` value of each format."""
_ROTATED = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_ARCHITECTURES = ("llama", "mistral")


def require_llama(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `ValueError` for a model or tokenizer that llama.cpp would not compute identically.

    Reads no weights.
    """
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None)
    positions = getattr(config, "max_position_embeddings", 0)
    reasons = {
        f"model_type {config.model_type}": config.model_type not in _ARCHITECTURES,
        "scaled rotary embeddings": rope.get("rope_type", "default") != "default",
        "partial rotary embeddings": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "an activation other than silu": getattr(config, "hidden_act", "silu") != "silu",
        "sliding-window attention": window is not None and window < positions,
        "biases": any(name.endswith(".bias") for name in model.state_dict()),
        "a tokenizer that is not GPT-2's byte-level BPE": not _is_byte_level(tokenizer),
        "a tokenizer with more tokens than the model has": len(tokenizer) > config.vocab_size,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise ValueError(
            f"export=gguf: {found[0]} is not supported; llama and mistral models with a byte-level "
            "BPE tokenizer are. llama.cpp's own converter reads the checkpoint of quant=none"
        )


def write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, format: str, file: Path
) -> None:
    """Writes the model, whose block linears have rounded weights in float32.

    Block linears are stored in `format`, all other tensors in float32. Raises `ValueError` for a
    weight that the format cannot store exactly, or a tensor that it has no name for.

    Args:
        model: the quantized model.
        tokenizer: the model's tokenizer.
        format: `q4_0` or `q8_0`.
        file: the path to write to.
    """
    import gguf

    architecture = gguf.MODEL_ARCH.LLAMA
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    _describe(writer, model, format)
    _add_tokenizer(writer, tokenizer, model.config.vocab_size)
    names = gguf.get_tensor_name_map(architecture, model.config.num_hidden_layers)
    linears = {f"{name}.weight" for name in block_linears(model)}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        target = names.get_name(name, try_suffixes=(".weight",))
        if target is None:
            raise ValueError(f"export=gguf: the format has no name for {name}")
        values = _turned(name, tensor.detach().cpu().float().numpy(), model.config)
        if name not in linears:
            writer.add_tensor(target, values)
            continue
        packed = _packed(name, values, format)
        writer.add_tensor(target, packed, raw_dtype=tensor_type(format))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _packed(name: str, values: Float[np.ndarray, "out in"], format: str) -> np.ndarray:
    """Packs a rounded weight and checks that dequantizing returns the same values."""
    from gguf.quants import dequantize

    packed = pack(values, format)
    if not np.array_equal(dequantize(packed, tensor_type(format)), values):
        raise ValueError(f"export=gguf: {name} holds other values than {format} can store")
    return packed


def _turned(name: str, values: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Reorders rows of q and k from transformers' rotary halves to llama.cpp's adjacent pairs."""
    for part, heads in _ROTATED.items():
        if name.endswith(f"{part}.weight"):
            num_heads = getattr(config, heads)
            halves = values.reshape(num_heads, 2, -1, values.shape[1])
            return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
    return values


def _describe(writer: Any, model: PreTrainedModel, format: str) -> None:
    """Writes the architecture's metadata under llama.cpp's keys."""
    import gguf

    config = model.config
    head_size = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    writer.add_name("unlearned")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(_FILE_TYPES[format])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _parts(tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any]:
    """Returns the content of tokenizer.json; empty for a tokenizer without one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return {} if backend is None else json.loads(backend.to_str())


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    parts = _parts(tokenizer)
    bpe, before = parts.get("model") or {}, parts.get("pre_tokenizer") or {}
    return (
        bpe.get("type") == "BPE"
        and not bpe.get("byte_fallback")
        and not bpe.get("ignore_merges")
        and bool(bpe.get("merges"))
        and {key: before.get(key) for key in _BYTE_LEVEL} == _BYTE_LEVEL
        and parts.get("normalizer") is None
    )


def _add_tokenizer(writer: Any, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Writes tokens, merges and special ids; embedding rows without a token are marked unused."""
    from gguf import TokenType

    parts = _parts(tokenizer)
    tokens, kinds = [f"[PAD{row}]" for row in range(rows)], [TokenType.UNUSED] * rows
    for text, index in parts["model"]["vocab"].items():
        tokens[index], kinds[index] = text, TokenType.NORMAL
    for token in parts["added_tokens"]:
        kind = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        tokens[token["id"]], kinds[token["id"]] = token["content"], kind
    merges = parts["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")  # "default" splits words differently
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    for name in ("bos", "eos", "pad", "unk"):
        index = getattr(tokenizer, f"{name}_token_id")
        if index is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(tokenizer.bos_token_id is not None)  # as before every scored text
    writer.add_add_eos_token(tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id)
