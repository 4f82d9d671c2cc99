"""Changed maths cannot serve old results: a builder's source may change only with its version.

After a change that alters what a stage computes, raise its number in `stages.VERSIONS`. After one
that does not, only the digest is renewed (comments and layout never show up here):
`python -m tests.test_versions` rewrites golden_versions.json.
"""

import ast
import hashlib
import json
from pathlib import Path

import pytest

from unlearn_lab import stages

ROOT = Path(stages.__file__).parent
GOLDEN = Path(__file__).with_name("golden_versions.json")

SOURCES = {
    "corpus": [
        *("data/gazette.py", "data/stage.py", "data/corpus.py", "data/rows.py", "data/parts.py"),
        *("data/muse.py", "data/muse_layout.py", "data/hub.py", "data/custom.py"),
    ],
    "base": ["models/tiny.py", "models/hub.py", "models/linears.py"],
    "target": [
        *("unlearn/train.py", "unlearn/fit.py", "unlearn/module.py", "unlearn/resume.py"),
        *("unlearn/ranks.py", "unlearn/strategy.py", "unlearn/sharding.py"),
        *("data/batch.py", "data/tokenise.py"),
        *("unlearn/objective.py", "unlearn/forward.py", "unlearn/likelihood.py"),
        *("models/causal_lm.py", "models/upcast.py", "models/recompute.py"),
    ],
    "retrain": [
        *("unlearn/train.py", "unlearn/fit.py", "unlearn/module.py", "unlearn/resume.py"),
        *("unlearn/ranks.py", "unlearn/strategy.py", "unlearn/sharding.py"),
        *("data/batch.py", "data/tokenise.py"),
        *("unlearn/objective.py", "unlearn/forward.py", "unlearn/likelihood.py"),
        *("models/causal_lm.py", "models/upcast.py", "models/recompute.py"),
    ],
    "unlearn": [
        *("unlearn/train.py", "unlearn/fit.py", "unlearn/module.py", "unlearn/resume.py"),
        *("unlearn/ranks.py", "unlearn/strategy.py", "unlearn/sharding.py"),
        *("data/batch.py", "data/tokenise.py"),
        *(
            "unlearn/objective.py",
            "unlearn/likelihood.py",
            "unlearn/forward.py",
            "models/causal_lm.py",
        ),
        *(
            "unlearn/ga.py",
            "unlearn/npo.py",
            "unlearn/retain.py",
            "unlearn/stop.py",
            "evaluate/stop.py",
        ),
        *("unlearn/update.py", "unlearn/selected.py", "unlearn/rounding.py", "unlearn/units.py"),
        *("unlearn/sure.py", "unlearn/released.py", "unlearn/saliency.py", "unlearn/mask.py"),
        *("models/trained.py", "models/linears.py", "models/upcast.py"),
        *("unlearn/saliency_stage.py", "unlearn/lora.py", "models/recompute.py"),
    ],
    "saliency": [
        *(
            "unlearn/saliency_stage.py",
            "unlearn/saliency.py",
            "unlearn/units.py",
            "unlearn/sure.py",
        ),
        *("models/linears.py", "models/upcast.py", "models/recompute.py"),
        *("unlearn/objective.py", "unlearn/likelihood.py", "unlearn/forward.py"),
        *(
            "unlearn/ranks.py",
            "unlearn/ga.py",
            "unlearn/npo.py",
            "models/causal_lm.py",
            "models/trained.py",
        ),
        *("data/batch.py", "data/tokenise.py"),
    ],
    "calibration": [
        *("quantize/calibration_stage.py", "quantize/calibration.py"),
        *("data/texts.py", "data/tokenise.py", "data/gazette.py", "data/hub.py"),
    ],
    "quantize": [
        *("quantize/stage.py", "quantize/compressor.py", "quantize/gptq.py", "quantize/awq.py"),
        *("quantize/packed.py", "quantize/prequantized.py", "quantize/gptqmodel_files.py"),
        *("quantize/grid.py", "quantize/rtn.py", "models/load.py", "models/quantized.py"),
        "models/linears.py",
    ],
    "export": [
        *("quantize/export.py", "quantize/gguf.py", "quantize/gguf_file.py"),
        *("quantize/gptqmodel_files.py", "quantize/packed.py", "models/load.py"),
        "models/linears.py",
    ],
    "evaluate": [
        *("evaluate/logits.py", "quantize/in_place.py", "quantize/bnb.py", "quantize/gguf.py"),
        *("quantize/prequantized.py", "models/quantized.py"),
        *("evaluate/stage.py", "evaluate/answer.py", "evaluate/verbmem.py", "evaluate/knowmem.py"),
        *("evaluate/min_k.py", "evaluate/auc.py", "evaluate/rouge.py", "evaluate/bootstrap.py"),
        *("evaluate/sampling.py", "evaluate/fluency.py", "quantize/llmint8.py"),
        *("evaluate/harness.py", "evaluate/harness_model.py", "evaluate/metric.py"),
        *(
            "quantize/grid.py",
            "quantize/rtn.py",
            "quantize/none.py",
            "models/load.py",
            "models/linears.py",
        ),
    ],
    "codes": [
        "models/linears.py",
        "evaluate/codes_stage.py",
        "evaluate/codes.py",
        "quantize/grid.py",
        "quantize/rtn.py",
        *("quantize/packed.py", "quantize/bnb.py", "quantize/gguf.py", "quantize/llmint8.py"),
    ],
    "widths": [
        "models/linears.py",
        "evaluate/codes_stage.py",
        "evaluate/codes.py",
        "quantize/grid.py",
        "quantize/rtn.py",
    ],
    "record": [
        "report/record.py",
        "report/score_figures.py",
        "evaluate/recovery.py",
        "evaluate/privleak.py",
        "evaluate/bootstrap.py",
    ],
}


def digest(files):
    """SHA-256 of the files' syntax trees without docstrings."""
    total = hashlib.sha256()
    for name in files:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                body.pop(0)
        total.update(ast.unparse(tree).encode())
    return total.hexdigest()


def test_every_stage_is_pinned():
    assert set(SOURCES) == set(stages.VERSIONS)


@pytest.mark.parametrize("name", SOURCES)
def test_a_changed_builder_has_a_new_version(name):
    golden = json.loads(GOLDEN.read_text())[name]
    found = {"version": stages.VERSIONS[name], "digest": digest(SOURCES[name])}
    assert found == golden, (
        f"the source of stage {name} changed: if its results do, raise stages.VERSIONS[{name!r}]; "
        "then run python -m tests.test_versions"
    )


def test_comments_do_not_count_and_code_does(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    source = tmp_path / "a.py"
    source.write_text('"""Doc."""\nx = 1\n')
    before = digest(["a.py"])
    source.write_text('"""Other doc."""\n# why\nx = 1\n')
    assert digest(["a.py"]) == before
    source.write_text('"""Doc."""\nx = 2\n')
    assert digest(["a.py"]) != before


if __name__ == "__main__":
    pins = {
        name: {"version": stages.VERSIONS[name], "digest": digest(files)}
        for name, files in SOURCES.items()
    }
    GOLDEN.write_text(json.dumps(pins, indent=1) + "\n")
