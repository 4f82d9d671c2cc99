"""Two processes train as one does: the same loss curve and the same weights."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_socket
import torch
from safetensors.torch import load_file

from tests.e2e.conftest import forkserver
from tests.unlearn.shared_training import CASES, run, run_rank
from unlearn_lab.unlearn.optimizers.mask import read_mask
from unlearn_lab.unlearn.training.steps import read_steps

__all__ = ["forkserver"]

ROOT = Path(__file__).resolve().parents[3]
QUICK = ("ddp/ga_gdr", "ddp/npo_klr", "ddp/stop", "ddp/sure_renewed", "ddp/parts", "fsdp/npo_klr")
THOROUGH = (
    *(f"ddp/{name}" for name in CASES if f"ddp/{name}" not in QUICK),
    *("fsdp/ga_gdr", "fsdp/learning", "fsdp/resumed", "fsdp/bf16", "fsdp/npo_muse_raw_logits"),
)
TOLERANCE = {
    torch.float64: {"rtol": 1e-6, "atol": 1e-9},
    torch.float32: {"rtol": 1e-3, "atol": 1e-5},
    # sums in another order are rounded elsewhere, by up to half a spacing of bfloat16 each time
    torch.bfloat16: {"rtol": 0.05, "atol": 0.02},
}


def fork(forkserver, folder, names):
    """All cases in two processes that torchrun's variables bring together."""
    pytest_socket.enable_socket()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pytest_socket.disable_socket(allow_unix_socket=True)
    both = [
        forkserver.Process(target=run_rank, args=(number, port, folder, names))
        for number in range(2)
    ]
    for process in both:
        process.start()
    for number, process in enumerate(both):
        process.join(280)
        assert process.exitcode == 0, (folder / f"err{number}").read_text()[-4000:]
    return folder


def torchrun(folder, names, accelerator="cpu"):
    """All cases in one start of torchrun, which takes longer than the trainings."""
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    script = ("--nproc-per-node=2", "-m", "tests.unlearn.shared_training")
    ended = subprocess.run(
        [*launch, *script, str(folder), accelerator, *names],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def quick(forkserver, tmp_path_factory):
    return fork(forkserver, tmp_path_factory.mktemp("quick"), QUICK)


@pytest.fixture(scope="module")
def thorough(tmp_path_factory):
    return torchrun(tmp_path_factory.mktemp("thorough"), THOROUGH)


def trained(folder):
    facts = json.loads((folder / "facts.json").read_text())
    return read_steps(folder), load_file(folder / "w"), facts


def compare(together, alone, name):
    """What two processes left in `together` with the same training in this one."""
    strategy, case = name.split("/")
    run(case, alone)
    steps, weights, facts = trained(together / name)
    expected_steps, expected_weights, expected = trained(alone / case)
    assert expected == {**expected, "devices": 1, "strategy": "none", "sharded": False}
    ran = {"devices": 2, "strategy": strategy, "sharded": strategy == "fsdp"}
    assert facts == {**expected, **ran, **compared_loosely(facts, expected)}
    near = TOLERANCE[CASES[case].dtype]
    assert len(steps) == len(expected_steps) == expected["steps"]
    for row, wanted in zip(steps, expected_steps, strict=True):
        assert row == pytest.approx(wanted, rel=near["rtol"], abs=near["atol"])
    assert weights.keys() == expected_weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, expected_weights[key], **near)
    mask, expected_mask = read_mask(together / name), read_mask(alone / case)
    assert mask.keys() == expected_mask.keys()
    assert all(torch.equal(kept, expected_mask[key]) for key, kept in mask.items())


def compared_loosely(facts, expected):
    """A share of weights, which may differ by a few."""
    if "changed" not in facts:
        return {}
    assert facts["changed"] == pytest.approx(expected["changed"], abs=0.01)
    return {"changed": facts["changed"]}


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_end_where_one_does(quick, tmp_path, name):
    compare(quick, tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", THOROUGH)
def test_so_do_all_other_methods_and_options(thorough, tmp_path, name):
    compare(thorough, tmp_path, name)
