"""Builds the export stage: writes the quantized model in another tool's file format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_lab.config.build import build as make
from unlearn_lab.config.libraries import require
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.quantize.awq import AWQ
from unlearn_lab.quantize.compressor import LIBRARY as COMPRESSOR
from unlearn_lab.quantize.formats import gguf_file, gptqmodel_files
from unlearn_lab.quantize.formats.gptqmodel_shapes import BITS, require_shapes
from unlearn_lab.quantize.gguf import GGUF
from unlearn_lab.quantize.gptq import GPTQ
from unlearn_lab.quantize.quantizer import AnyQuantizer
from unlearn_lab.quantize.rtn import RTN

FORMATS: dict[type, tuple[str, ...]] = {
    RTN: ("compressed-tensors", "gptq", "awq"),
    GPTQ: ("compressed-tensors", "gptq"),
    AWQ: ("compressed-tensors", "awq"),
    GGUF: ("gguf",),
}
"""Export formats of each quantizer; `export=true` selects the first."""


def require_exportable(
    quantizer: AnyQuantizer,
    export: bool | str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Raises `ValueError` if quantizer, model or installation do not support the export.

    Args:
        quantizer: the quantizer.
        export: format name, True for the quantizer's first format, False for no export.
        model: the model; its weights are not read.
        tokenizer: the model's tokenizer, which GGUF restricts.
    """
    if export is False:
        return
    formats = FORMATS.get(type(quantizer), ())
    if not formats:
        raise ValueError(
            f"export={export}: {type(quantizer).__name__} has no file format of its own; export "
            "from rtn, gptq, awq or gguf"
        )
    if export is not True and export not in formats:
        raise ValueError(
            f"export={export}: must be false, true or one of {', '.join(formats)} "
            f"for {type(quantizer).__name__}"
        )
    if isinstance(quantizer, GGUF):
        gguf_file.require_llama(model, tokenizer)
        return
    require(COMPRESSOR)
    if export in BITS and isinstance(quantizer, RTN | GPTQ | AWQ):
        require_shapes(str(export), model, quantizer.bits, quantizer.group_size)
        require(gptqmodel_files.LIBRARY)


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a .gguf file, or a checkpoint in auto-gptq's or autoawq's format.

    Args:
        params: the stage's parameters: `quant`, and `format` (ignored for GGUF).
        inputs: the artifact `model` for GGUF, `quantized` for the other formats.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: the format and the names of the files.
    """
    quantizer = make(params["quant"], AnyQuantizer, "quant")
    if isinstance(quantizer, GGUF):
        model = load_model(inputs["model"].path, "fp32")
        quantizer.quantize(model)
        file = work / f"model-{quantizer.format}.gguf"
        gguf_file.write(model, load_tokenizer(inputs["model"].path), quantizer.format, file)
        return {"format": "gguf", "files": [file.name]}
    group_size = getattr(quantizer, "group_size", None)
    source = inputs["quantized"].path
    gptqmodel_files.run(params["format"], source, work, str(quantizer.bits), str(group_size or -1))
    return {"format": params["format"], "files": sorted(file.name for file in work.iterdir())}
