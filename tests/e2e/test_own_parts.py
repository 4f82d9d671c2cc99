"""A method of the user's own, in a module and a folder of YAML beside the command."""

import re

import pytest

from tests.e2e.artifacts import built

PART = '''
"""SimNPO (arXiv 2410.07163): NPO without a reference, on likelihoods normalised by length."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.objectives.objective import Forward
from unlearn_lab.unlearn.ranks import sequence_mean


@dataclass(frozen=True, kw_only=True)
class SimNPO:
    beta: float
    gamma: float
    needs_likelihood: ClassVar[bool] = False
    needs_distribution: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta={self.beta}: must be above 0")

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        policy = forward.policy(forget)
        mean = policy.sequence_log_likelihood() / policy.num_tokens
        return -(2 / self.beta) * sequence_mean(logsigmoid(-self.beta * mean - self.gamma), forget)
'''
METHOD = """
# SimNPO alone
_target_: unlearn_lab.unlearn.objectives.objective.Unlearning
forget: {_target_: own_parts.SimNPO, beta: 2.5, gamma: 0.0}
retain: null
"""
GRID = """
# @package _global_
# the same in two precisions
hydra:
  mode: MULTIRUN
  sweeper:
    params: {method: simnpo, quant: "rtn4,rtn8"}
"""
TRUSTING = """
# @package _global_
hydra:
  mode: MULTIRUN
  sweeper:
    params: {trust: "[own_parts],[]"}
"""
LATE = """
# @package _global_
conf_dir: other
"""
YAML = {
    "method/simnpo": METHOD,
    "grid/two": GRID,
    "grid/trusting": TRUSTING,
    "grid/late": LATE,
}


@pytest.fixture(autouse=True)
def own(tmp_path):
    (tmp_path / "own_parts.py").write_text(PART)
    for name, text in YAML.items():
        file = tmp_path / "options" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip())
    return tmp_path


OPTIONS, TRUST = "conf_dir=options", "trust=[own_parts]"


@pytest.mark.prepared
def test_a_sweep_of_theirs_runs_with_a_method_of_theirs(lab):
    run = lab("+grid=two", OPTIONS, TRUST)
    assert run.status == 0, run.err
    assert built(run.home)["unlearn"] == 1
    assert [record["quant"] for record in run.records] == ["rtn4", "rtn8"]
    for record in run.records:
        assert record["method"] == "simnpo"
        assert record["config.method.forget._target_"] == "own_parts.SimNPO"
        assert not {"config.trust", "config.conf_dir"} & set(record)


NAMED = {"UNLEARN_LAB_CONF": "options", "UNLEARN_LAB_TRUST": "own_parts"}


@pytest.mark.prepared
@pytest.mark.slow
def test_two_processes_train_by_a_method_of_theirs(lab):
    run = lab("method=simnpo", "runtime.devices=2", environment=NAMED)
    assert run.status == 0, run.err
    assert [record["method"] for record in run.records] == ["simnpo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([OPTIONS, "method=simnpo"], r"own_parts\.SimNPO: .*trust=\[own_parts\] allows"),
        ([OPTIONS, "method=simnpo", "trust=[torch]"], r"trust=\[torch\]: is a library that"),
        ([OPTIONS, TRUST, "method=simnpo", "method.forget.beta=0"], "method.forget.beta=0.0: must"),
        ([OPTIONS, TRUST, "method.forget._target_=own_parts.Tensor"], "this is torch"),
        (["-m", "trust=[own_parts],[]"], r"trust=\[own_parts\],\[\]: .*same in all jobs"),
        (["+grid=trusting", OPTIONS], "trust: .*same in all jobs"),
        (["conf_dir=nowhere"], "conf_dir=.*nowhere: .*no such folder"),
        (["-m", "conf_dir=options,other"], "conf_dir=options,other: .*same in all jobs"),
    ],
)
def test_what_is_not_theirs_to_add_is_refused(lab, arguments, message):
    run = lab(*arguments)
    assert run.status == 2, run.err
    assert re.search(message, run.err), run.err
    assert "Traceback" not in run.err
    assert len(run.err.strip().splitlines()) <= 4
    assert not (run.home / "cache" / "target").exists()


def test_a_preset_that_names_another_folder_is_refused(lab):
    run = lab("+grid=late", environment={**NAMED, "UNLEARN_LAB_TRUST": ""})
    assert run.status == 2
    assert re.search("conf_dir=other: .*the command line", run.err), run.err


@pytest.mark.parametrize(
    ("name", "taken"),
    [("method/ga", "/conf/method/ga.yaml"), ("grid/tiny_lr", "/sweeps/grid/tiny_lr.yaml"),
     ("settings", "structured://"), ("hydra/job_logging/default", "pkg://hydra.conf")],
)  # fmt: skip
def test_an_option_of_theirs_never_hides_behind_one_of_that_name(lab, own, name, taken):
    file = own / "options" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# mine\nx: 1\n")
    run = lab(OPTIONS)
    assert run.status == 2
    assert len(run.err.strip().splitlines()) == 1
    assert str(file) in run.err
    assert taken in run.err


def test_help_lists_theirs(lab):
    run = lab("--help", OPTIONS, small=False)
    assert run.status == 0, run.err
    listed = [line for line in run.out.splitlines() if "tune_tiny" in line and "two" in line]
    assert len(listed) == 2  # among the groups, and among the presets
    assert "npo_muse_klr, simnpo" in run.out


def test_hydra_s_own_search_path_takes_no_preset_away(lab, own):
    path = f"hydra.searchpath=[file://{own / 'options'}]"
    run = lab("--cfg=job", path, "+grid=tiny_lr", "method=simnpo", small=False)
    assert run.status == 0, run.err
    assert "own_parts.SimNPO" in run.out
