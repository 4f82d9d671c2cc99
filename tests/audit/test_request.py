"""An audit's question becomes command lines that mean it, whatever its words contain."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.audit import request
from unlearn_lab.audit.request import AuditRequest, quoted

ASKED = AuditRequest(
    target="T",
    unlearned=("U@abc", "folder, with 'a' comma"),
    retrain="R",
    dataset="tofu",
    quantizers=("rtn4", "gptq4", "nf4", "awq4"),
    calibration="retain",
    home=Path("/lab"),
    sweep="audit",
    overrides=("eval.num_items=3",),
)


def parsed(arguments):
    return {
        override.key_or_group: override
        for override in OverridesParser.create().parse_overrides(arguments[1:])
    }


def test_quantizers_that_need_text_come_first_and_alone():
    first, second = map(parsed, ASKED.sweeps())
    names = [one["quant"].sweep_string_iterator() for one in (first, second)]
    assert [list(one) for one in names] == [["gptq4", "awq4"], ["rtn4", "nf4"]]
    assert first["quant/calibration"].value() == "retain"
    assert "quant/calibration" not in second


def test_every_word_is_passed_on():
    _, found = map(parsed, ASKED.sweeps())
    plain = {name: found[name].value() for name in ("model.path", "model.retrain", "dataset")}
    assert plain == {"model.path": "T", "model.retrain": "R", "dataset": "tofu"}
    models = [override.value() for override in swept(found["method.path"])]
    assert models == list(ASKED.unlearned)
    assert (found["model.finetune"].value(), found["eval.num_items"].value()) == (False, 3)
    assert found["runtime.home"].value() == "/lab"


def swept(override):
    """The single overrides that a sweep is made of."""
    parser = OverridesParser.create()
    given_by = override.sweep_string_iterator()
    return parser.parse_overrides([f"{override.key_or_group}={value}" for value in given_by])


def test_without_a_control_none_is_named():
    (found,) = (
        parsed(one)
        for one in AuditRequest(
            **{**vars(ASKED), "retrain": None, "quantizers": ("rtn4",)}
        ).sweeps()
    )
    assert "model.retrain" not in found


def test_a_folder_is_a_corpus_of_one_s_own(tmp_path):
    asked = AuditRequest(**{**vars(ASKED), "dataset": str(tmp_path), "quantizers": ("none",)})
    (found,) = (parsed(one) for one in asked.sweeps())
    assert (found["dataset"].value(), found["dataset.path"].value()) == ("custom", str(tmp_path))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1))
def test_hydra_reads_back_what_is_quoted(text):
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert override.value() == text


@pytest.mark.parametrize(("missing", "left"), [("bitsandbytes", "rtn8"), ("gguf", "nf4")])
def test_what_is_not_installed_is_not_tested(monkeypatch, missing, left):
    monkeypatch.setattr(request, "installed", lambda name: None if name == missing else name)
    usual = request.usual_quantizers()
    assert left in usual
    assert not [name for name in usual if missing in request.LIBRARIES[name]]
    assert request.missing_libraries("nf4") == (("bnb",) if missing == "bitsandbytes" else ())
