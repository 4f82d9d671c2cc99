"""Reads and writes the file formats of auto-gptq and autoawq through gptqmodel.

Runs in a separate process, `python -m unlearn_lab.quantize.formats.gptqmodel_files`, because
importing gptqmodel patches functions of transformers and safetensors, sets environment variables
and starts threads that terminate the whole process when one of them fails.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from unlearn_lab.config.libraries import require
from unlearn_lab.models.load import DTYPES
from unlearn_lab.quantize.formats.packed import quantized_layers, read_integers

LIBRARY = "gptqmodel"
_GENERATION = "generation_config.json"
LAYOUTS = {"gptq": ("gptq", "gptq_v2"), "awq": ("gemm",)}
"""Layouts of each format that can be unpacked."""
_STORED = (".qweight", ".qzeros", ".scales", ".g_idx")
_PLAIN = (".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point")


def run(task: str, source: Path, folder: Path, *further: str) -> None:
    """Runs a conversion in a separate process.

    Raises `ValueError` with the last line of its stderr when it fails.

    Args:
        task: `gptq` or `awq` to write that format, `plain` to unpack either.
        source: the checkpoint to read.
        folder: the folder to write to.
        *further: bits and group size for `gptq` and `awq`; `weights` for `plain`.
    """
    require(LIBRARY)
    quiet = {"TORCHDYNAMO_DISABLE": "1", "GPTQMODEL_CPU_WORKERS": str(os.cpu_count() or 1)}
    home = {"HF_HOME": os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))}
    done = subprocess.run(
        [sys.executable, "-m", __name__, task, str(source), str(folder), *further],
        env={**os.environ, **quiet, **home},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ValueError(f"{LIBRARY}, {task}: {said[-1] if said else f'exit {done.returncode}'}")


def write(format: str, source: Path, folder: Path, bits: int, group_size: int) -> None:
    """Writes a compressed-tensors checkpoint in auto-gptq's or autoawq's format.

    Scales become float16, as the formats require. Raises `ValueError` for a checkpoint that the
    format cannot store.

    Args:
        format: `gptq` or `awq`.
        source: the checkpoint to read.
        folder: the folder to write to.
        bits: bits per weight.
        group_size: inputs that share a scale; -1 for one scale per row.
    """
    tensors = _tensors(source)
    for name in quantized_layers(source):
        codes, scales, zeros = read_integers(source, name, bits=bits)
        for suffix in _PLAIN:
            tensors.pop(f"{name}{suffix}", None)
        packed = _pack(format, codes.T, scales.T, zeros.T, bits)
        tensors |= {f"{name}.{part}": tensor for part, tensor in packed.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = _settings(format, source, bits, group_size)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = settings
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "quantize_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    if (source / _GENERATION).exists():
        shutil.copyfile(source / _GENERATION, folder / _GENERATION)
    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(folder)
    _require_same(source, folder, bits)


def make_plain(source: Path, folder: Path, weights: str) -> None:
    """Unpacks a checkpoint in either format into plain weights.

    Raises `ValueError` for another layout, and for tensors that are missing or not part of the
    architecture.

    Args:
        source: the checkpoint to read.
        folder: the folder to write to.
        weights: the dtype of the weights, a name in `DTYPES`.
    """
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    dtype = DTYPES[weights]
    delattr(config, "quantization_config")
    tensors = {
        name: tensor.to(dtype)
        for name, tensor in _tensors(source).items()
        if not name.endswith(_STORED)
    }
    tensors |= {f"{name}.weight": weight.to(dtype) for name, weight in _dequantized(source)}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    unknown = model.load_state_dict(tensors, strict=False, assign=True).unexpected_keys
    for name in unknown:
        idle = name.endswith(".bias") and not tensors[name].any()  # auto-gptq writes zero biases
        if not idle and not name.endswith("rotary_emb.inv_freq"):
            raise ValueError(f"{source}: holds {name}, which {type(model).__name__} does not have")
    model.tie_weights()
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise ValueError(f"{source}: holds no {name}, which {type(model).__name__} has")
    model.save_pretrained(folder)


def _pack(
    format: str,
    codes: Int[Tensor, "in out"],
    scales: Float[Tensor, "groups out"],
    zeros: Int[Tensor, "groups out"],
    bits: int,
) -> dict[str, Tensor]:
    """Packs signed codes and zero points into one layer's tensors, by the format's names."""
    from gptqmodel.quantization.awq.utils.packing_utils import (  # pyright: ignore[reportMissingImports]
        pack_awq,
        pack_exllama,
    )

    unsigned, lifted = (values.contiguous().int() + 2 ** (bits - 1) for values in (codes, zeros))
    kept = {"scales": scales.contiguous().half()}
    if not (torch.isfinite(kept["scales"]) & (kept["scales"] != 0)).all():
        raise ValueError("a scale does not fit float16, which the format keeps scales in")
    if format == "awq":
        weights, stored = pack_awq(unsigned, lifted, bits)
        return {"qweight": weights.contiguous(), "qzeros": stored.contiguous(), **kept}
    if int(lifted.min()) < 1:
        raise ValueError(
            "a zero point is 0, which the GPTQ format cannot store, because it stores the zero "
            "point minus one; use quant.symmetric=true or export=awq"
        )
    weights, stored = pack_exllama(unsigned, lifted - 1, bits)
    places = torch.arange(len(codes)) // (len(codes) // len(scales))
    return {
        "qweight": weights.contiguous(),
        "qzeros": stored.contiguous(),
        "g_idx": places.int(),
        **kept,
    }


def _settings(format: str, source: Path, bits: int, group_size: int) -> dict[str, Any]:
    """Builds `quantization_config` as the format's readers expect it."""
    made_by = {"quantizer": [require(LIBRARY).replace(" ", ":")], "offload_to_disk": False}
    common = {"quant_method": format, "bits": bits, "group_size": group_size, "meta": made_by}
    if format == "awq":
        made_from = json.loads((source / "config.json").read_text(encoding="utf-8"))
        outside = {"modules_to_not_convert": made_from["quantization_config"]["ignore"]}
        return {**common, "version": "gemm", "zero_point": True, **outside}
    symmetric = all(
        bool((read_integers(source, name, bits=bits)[2] == 0).all())
        for name in quantized_layers(source)
    )
    return {
        **common,
        "format": "gptq",
        "checkpoint_format": "gptq",
        "sym": symmetric,
        "desc_act": False,
        "lm_head": False,
        "true_sequential": True,
        "pack_dtype": "int32",
    }


def _dequantized(folder: Path) -> Iterator[tuple[str, Float[Tensor, "out in"]]]:
    """Yields each layer's name and float32 weight, unpacked by gptqmodel's functions."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings, tensors = config["quantization_config"], _tensors(folder)
    layout = _layout(folder, settings)
    for key in [key for key in tensors if key.endswith(".qweight")]:
        name = key.removesuffix(".qweight")
        stored = {part: tensors.get(f"{name}{part}") for part in _STORED}
        codes, zeros, groups = _unpack(layout, settings["bits"], stored)
        scales = tensors[f"{name}.scales"].float()
        weight = (codes.float() - zeros.float()[groups]) * scales[groups]
        yield name, weight.T.contiguous()


def _layout(folder: Path, settings: Mapping[str, Any]) -> str:
    """Returns the layout's name; raises `ValueError` for one that cannot be unpacked."""
    method = settings["quant_method"]
    names = (
        ("checkpoint_format", "version", "format")
        if method == "awq"
        else ("checkpoint_format", "format")
    )
    found = next((settings[name] for name in names if settings.get(name)), LAYOUTS[method][0])
    if str(found).lower() not in LAYOUTS[method]:
        raise ValueError(
            f"{folder}: is in the layout {found} of {method}; only {', '.join(LAYOUTS[method])} "
            "can be read"
        )
    return str(found).lower()


def _unpack(
    layout: str, bits: int, stored: Mapping[str, Tensor | None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns unsigned codes (in, out), zero points (groups, out) and each input's group."""
    from gptqmodel.quantization.awq.utils.packing_utils import (  # pyright: ignore[reportMissingImports]
        reverse_awq_order,
        unpack_awq,
    )
    from gptqmodel.utils.model_dequant import (  # pyright: ignore[reportMissingImports]
        unpack_cols,
        unpack_rows,
    )

    packed, zeros, scales, places = (stored[part] for part in _STORED)
    if packed is None or zeros is None or scales is None:
        raise ValueError(f"a layer lacks one of {', '.join(_STORED[:3])}")
    num_groups, width = scales.shape
    if layout == "gemm":
        codes, zeros = reverse_awq_order(*unpack_awq(packed, zeros, bits, width), bits)
        codes, zeros = (values & (2**bits - 1) for values in (codes, zeros))
    else:
        codes = unpack_rows(packed, bits)
        one_each = sum(1 << place for place in range(0, 32, bits))
        if layout == "gptq" and 32 % bits:
            zeros = (unpack_cols(zeros, bits) + 1) & (2**bits - 1)
        else:  # readers add 1 to packed words, with carries between fields: files rely on it
            zeros = unpack_cols(zeros + (one_each if layout == "gptq" else 0), bits)
    if layout == "gemm" or places is None:
        places = torch.arange(len(codes)) // (len(codes) // num_groups)
    return codes, zeros[:, :width], places.long()


def _require_same(source: Path, folder: Path, bits: int) -> None:
    """Raises `ValueError` unless the written checkpoint reads back with the source's weights."""
    for name, weight in _dequantized(folder):
        codes, scales, zeros = read_integers(source, name, bits=bits)
        span = codes.shape[1] // scales.shape[1]
        steps, levels = (
            values.float().repeat_interleave(span, dim=1) for values in (scales.half(), zeros)
        )
        if not torch.equal(weight, (codes.float() - levels) * steps):
            raise ValueError(f"layer {name} reads back as other weights than were written")


def _tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder}: holds no *.safetensors; other checkpoint files are not read")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _main(task: str, source: str, folder: str, *further: str) -> None:
    from logbar import LogBar  # pyright: ignore[reportMissingImports]

    LogBar.shared().setLevel(logging.ERROR)
    if task == "plain":
        make_plain(Path(source), Path(folder), *further)
        return
    bits, group_size = map(int, further)
    write(task, Path(source), Path(folder), bits, group_size)


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(" ".join(str(error).split()))
