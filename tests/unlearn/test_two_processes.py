"""Two processes train as one does: the same loss curve and the same weights."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from unlearn_lab.unlearn.fit import read_steps
from unlearn_lab.unlearn.mask import read_mask

from .shared_training import CASES, run

ROUNDED = ("bf16", "bf16_sr")
"""Gradients and weights in bfloat16: sums in another order are rounded elsewhere."""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """All cases in one start of two processes, which costs more than the trainings."""
    folder = tmp_path_factory.mktemp("together")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    script = ("--nproc-per-node=2", "-m", "tests.unlearn.shared_training")
    ended = subprocess.run(
        [*torchrun, *script, str(folder), *CASES],
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return folder


def trained(folder):
    return read_steps(folder), load_file(folder / "w"), json.loads((folder / "facts.json").read_text())


@pytest.mark.xdist_group("two_processes")
@pytest.mark.parametrize("name", CASES)
def test_two_processes_end_where_one_does(together, tmp_path, name):
    run(name, tmp_path)
    (alone_steps, alone, alone_facts) = trained(tmp_path / name)
    (steps, weights, facts) = trained(together / name)
    assert (facts["devices"], facts["strategy"]) == (2, "ddp")
    assert (alone_facts["devices"], alone_facts["strategy"]) == (1, "none")
    assert {**facts, "devices": 1, "strategy": "none"} == pytest.approx(alone_facts)
    assert [row.keys() for row in steps] == [row.keys() for row in alone_steps]
    loose = {"rtol": 0.05, "atol": 0.02} if name in ROUNDED else {"rtol": 1e-4, "atol": 1e-6}
    for row, expected in zip(steps, alone_steps, strict=True):
        for key, value in row.items():
            assert value == pytest.approx(expected[key], rel=loose["rtol"], abs=loose["atol"]), key
    for key, value in weights.items():
        torch.testing.assert_close(value, alone[key], **loose)
    mask, alone_mask = read_mask(together / name), read_mask(tmp_path / name)
    assert mask.keys() == alone_mask.keys()
    assert all(torch.equal(mask[key], alone_mask[key]) for key in mask)
