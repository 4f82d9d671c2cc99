"""Decides which stages a quantizer adds to the graph: calibration text, kept models, exports."""

from typing import Any

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage
from unlearn_lab.libraries import installed
from unlearn_lab.plan_corpus import pinned_corpus
from unlearn_lab.stages import Config, stage

NO_QUANTIZER = {"_target_": "unlearn_lab.quantize.none.NoQuantizer"}
PREQUANTIZED = "unlearn_lab.quantize.prequantized.Prequantized"
_RTN = "unlearn_lab.quantize.rtn.RTN"
_LLM_INT8 = "unlearn_lab.quantize.llmint8.LLMInt8"
_CORPUS_TEXTS = "unlearn_lab.data.texts.CorpusTexts"
_HUB_TEXTS = "unlearn_lab.data.texts.HubTexts"
_LIBRARIES = {
    "gptq.GPTQ": ("llmcompressor", "compressed-tensors"),
    "awq.AWQ": ("llmcompressor", "compressed-tensors"),
    "bnb.BNB4": ("bitsandbytes",),
    "bnb.BNB8": ("bitsandbytes",),
    "llmint8.LLMInt8": ("bitsandbytes",),
    "gguf.GGUF": ("gguf",),
    "prequantized.Prequantized": ("compressed-tensors", "bitsandbytes", "gguf", "gptqmodel"),
}
"""Whose versions are part of the key, by the quantizer's place below `unlearn_lab.quantize`."""


Digest = str | dict[str, str] | None
"""Of the file or folder that texts are read from, or of each file of a corpus; None on the hub."""


def pin_texts(quant: Config, content: ContentKey) -> tuple[dict[str, Any], Digest]:
    """The quantizer's node with hub texts pinned to a commit; the digest of local ones.

    Raises `ValueError` when they cannot be found.
    """
    node, text = dict(quant), (quant.get("calibration") or {}).get("text") or {}
    if text.get("_target_") == _HUB_TEXTS:
        pin = content.of_dataset(text["path"], text["revision"])
        pinned = {**text, "path": pin.path, "revision": pin.revision}
        digest = pin.digest
    elif text.get("_target_") == _CORPUS_TEXTS:
        corpus, digests = pinned_corpus(text["corpus"], content, "generic_text.corpus")
        pinned, digest = {**text, "corpus": corpus}, digests or None
    else:
        return node, None
    return {**node, "calibration": {**node["calibration"], "text": pinned}}, digest


def calibration_stage(quant: Config, digest: Digest, corpus: Stage, base: Stage) -> Stage | None:
    """The text that the quantizer sees, None where it wants none."""
    if "calibration" not in quant:
        return None
    return stage(
        "calibration",
        "unlearn_lab.quantize.calibration_stage:build",
        {"calibration": quant["calibration"], "content": digest},
        {"corpus": corpus, "base": base},
    )


def quantized_model(
    model: Stage, quant: Config, weights: str, calibration: Stage | None, *, export: bool
) -> Stage | None:
    """The quantized model on disk: where it costs time to make, or is to be exported.

    None where it is quantized on load.
    """
    if calibration is None and not (export and quant["_target_"] == _RTN):
        return None
    packing = {"packing": installed("compressed-tensors")} if calibration is None else {}
    params = {"quant": quant, "weights": weights, **libraries(quant), **packing}
    inputs = {"model": model} | ({} if calibration is None else {"calibration": calibration})
    return stage("quantize", "unlearn_lab.quantize.stage:build", params, inputs)


def given_model(who: str, quant: Config, weights: str, content: ContentKey) -> Stage | None:
    """A model that somebody else quantized; None where there is none."""
    if quant[who] is None:
        return None
    pin = content.of_model(quant[who], None, f"quant.{who}")
    params = {"path": pin.path, "revision": pin.revision, "content": pin.digest}
    return stage(
        "quantize",
        "unlearn_lab.quantize.stage:build_prequantized",
        {**params, "weights": weights, **libraries({"_target_": PREQUANTIZED})},
    )


def export_stages(
    quant: Config, export: bool | str, unlearn: Stage, kept: Stage | None
) -> dict[str, Stage]:
    """The unlearned model as it is kept, and as a file in another format where one is asked for."""
    stages = {} if kept is None else {"quantize": kept}
    if isinstance(export, str) or (export and kept is None):
        stages["export"] = stage(
            "export",
            "unlearn_lab.quantize.export:build",
            {
                "quant": quant,
                "format": export,
                **libraries(quant),
                **({"writing": installed("gptqmodel")} if isinstance(export, str) else {}),
            },
            {"model": unlearn} if kept is None else {"model": unlearn, "quantized": kept},
        )
    return stages


def asked_export(export: bool | str) -> bool | str:
    """`export` with the names of the formats that are there anyway replaced by True."""
    return True if export in ("compressed-tensors", "gguf") else export


def libraries(quant: Config) -> dict[str, list[str | None]]:
    """The versions of the libraries that round or read, which are part of the key."""
    place = str(quant["_target_"]).removeprefix("unlearn_lab.quantize.")
    found = [installed(library) for library in _LIBRARIES.get(place, ())]
    return {"libraries": found} if found else {}


def batching(quant: Config, runtime: Config) -> dict[str, int]:
    """What the make-up of a batch changes: LLM.int8() looks for outlier columns batch by batch."""
    return {"batch_tokens": runtime["batch_tokens"]} if quant["_target_"] == _LLM_INT8 else {}
