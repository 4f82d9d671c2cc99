"""Classes of packages that the user trusts are built, and nothing else within reach of them."""

import sys

import pytest

from tests.execute.test_worker import make_request as make_request
from unlearn_lab.config.build import Refused, assemble_partial, build, check, locate
from unlearn_lab.config.trusted import from_environment, trust, trusted
from unlearn_lab.execute.worker import main
from unlearn_lab.plan.request import read_values

PARTS = """
import os
from dataclasses import dataclass
from os import system
from pathlib import Path

import torch
from torch.optim import SGD
from transformers import LlamaForCausalLM
from unlearn_lab.unlearn.objectives.objective import Unlearning

number = 3


@dataclass(frozen=True, kw_only=True)
class Forget:
    beta: float


class Descent(SGD):
    pass


def made(beta):
    return Forget(beta=beta)


def build(params, inputs, work, runtime):
    os.mkdir("mark")


Imported = LlamaForCausalLM
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A module `lab_parts` in the working folder, which is not where Python looks."""
    (tmp_path / "lab_parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    yield tmp_path
    trust([])
    sys.modules.pop("lab_parts", None)


NODE = {"_target_": "lab_parts.Forget", "beta": 1}


def test_a_class_of_a_trusted_package_is_built(parts):
    trust(["lab_parts"])
    made = build(NODE, object, "method.forget")
    assert type(made).__name__ == "Forget"
    assert made.beta == 1.0
    assert assemble_partial(
        {"_target_": "lab_parts.Descent", "lr": 1.0}, "optimizer", given=("params",)
    )
    with pytest.raises(Refused, match=r"^method\.forget\.beta='x': must be float$"):
        check({**NODE, "beta": "x"}, "method.forget")


def test_without_trust_the_way_out_is_named_and_nothing_is_imported(parts):
    with pytest.raises(Refused, match=r"only unlearn_lab and torch\.optim .*trust=\[lab_parts\]"):
        build(NODE, object, "method.forget")
    assert "lab_parts" not in sys.modules
    assert str(parts) not in sys.path


@pytest.mark.parametrize("target", ["os.system", "torch.load", "builtins.eval", "lab-parts.x", "5"])
def test_no_way_out_is_named_for_what_cannot_be_trusted(target):
    with pytest.raises(Refused) as refused:
        locate(target, "method")
    assert "trust" not in str(refused.value)


@pytest.mark.parametrize(
    "target",
    [
        "lab_parts.system",
        "lab_parts.os.system",
        "lab_parts.torch.load",
        "lab_parts.torch",
        "lab_parts.Imported",
        "lab_parts.LlamaForCausalLM",
        "lab_parts.Path",
        "lab_parts.made",
        "lab_parts.number",
        "lab_parts.build",
        "lab_parts:build",
        "lab_parts.Forget.__init__",
        "lab_parts.__loader__",
        "lab_parts.nothing",
        "lab_parts_too.Forget",
        "os.system",
        "torch.load",
    ],
)
def test_only_classes_that_are_defined_there_are_built(parts, target):
    trust(["lab_parts"])
    with pytest.raises(Refused, match=r"_target_="):
        locate(target, "method")
    assert not (parts / "mark").exists()


def test_a_class_from_elsewhere_is_told_with_its_home(parts):
    trust(["lab_parts"])
    allowed = r"only unlearn_lab, torch\.optim and lab_parts .*instantiated"
    with pytest.raises(Refused, match=rf"{allowed}.* transformers\.[\w.]+$"):
        locate("lab_parts.Imported", "method")
    assert (
        locate("lab_parts.Unlearning", "method").__module__
        == "unlearn_lab.unlearn.objectives.objective"
    )


def test_a_module_that_cannot_be_read_is_told_in_one_line(parts):
    trust(["lab_parts"])
    (parts / "lab_parts.py").write_text("class Forget(:\n")
    with pytest.raises(Refused, match=r"lab_parts\.py, line 1"):
        locate("lab_parts.Forget", "method")


def test_a_type_that_is_not_there_at_run_time_is_told(parts):
    trust(["lab_parts"])
    (parts / "lab_parts.py").write_text(
        "class Forget:\n    def __init__(self, beta: 'Real'): ...\n"
    )
    with pytest.raises(Refused, match=r"type annotation.*Forget.*unknown.*'Real'"):
        check(NODE, "method.forget")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("os", "standard library"),
        ("builtins", "standard library"),
        ("torch", "library.*unlearn_lab"),
        ("numpy", "library.*unlearn_lab"),
        ("transformers", "library.*unlearn_lab"),
        ("hydra", "library.*unlearn_lab"),
        ("yaml", "library.*unlearn_lab"),
        ("unlearn_lab", "is part of unlearn_lab"),
        ("hydra_plugins", "is part of unlearn_lab"),
        ("__main__", "top-level package"),
        ("lab_parts.inner", "top-level package"),
        ("../lab_parts", "top-level package"),
        ("class", "top-level package"),
        ("", "top-level package"),
        ("lab_prats", "no such package in"),
    ],
)
def test_what_cannot_be_trusted_is_refused(parts, name, reason):
    trust(["lab_parts"])
    with pytest.raises(ValueError, match=rf"^trust=\[{name}\]: .*{reason}"):
        trust([name])
    assert trusted() == ("lab_parts",)


def test_nothing_is_imported_before_a_class_is_asked_for(parts):
    trust(["lab_parts"])
    assert "lab_parts" not in sys.modules


@pytest.mark.usefixtures("parts")
def test_a_configuration_trusts_what_it_names_and_no_more(composed, monkeypatch):
    read_values(composed("trust=[lab_parts]"))
    assert trusted() == ("lab_parts",)
    read_values(composed())
    assert trusted() == ()
    monkeypatch.setenv("UNLEARN_LAB_TRUST", "lab_parts,")
    assert from_environment() == ["lab_parts"]
    read_values(composed())
    assert trusted() == ("lab_parts",)
    with pytest.raises(Refused, match=r"^trust=\[os\]: .*standard library"):
        read_values(composed("trust=[lab_parts,os]"))


@pytest.mark.usefixtures("parts")
def test_processes_of_a_stage_trust_what_their_request_names(make_request):
    """This request cannot be carried out for another reason, which comes later."""
    assert main([str(make_request(trust=("lab_parts",), devices=2))]) == 2
    assert trusted() == ("lab_parts",)


def test_a_request_that_trusts_a_library_is_refused(make_request, capsys):
    assert main([str(make_request(trust=("torch",)))]) == 2
    assert capsys.readouterr().err.startswith("trust=[torch]: is a library")
