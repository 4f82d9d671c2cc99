"""How a sweep of someone else's is closed by what its jobs left behind."""

import json

import pytest
from hydra import compose, initialize_config_dir

from unlearn_lab import foreign
from unlearn_lab.exits import Finished
from unlearn_lab.paths import data_dir

REFUSAL = {"record": None, "label": "", "hint": "", "built": {}, "reused": {}, "seconds": {}}


@pytest.fixture
def begin(composed, tmp_path):
    """Begins a sweep of Hydra's basic sweeper; returns the folder of its jobs."""

    def make():
        given = ["hydra/sweeper=basic", f"runtime.home={tmp_path}", "report.sweep=s"]
        with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
            config = compose("config", given, return_hydra_config=True)
        foreign.ForeignSweep().on_multirun_start(config)
        return tmp_path / "hydra" / "s"

    yield make
    foreign._begun.clear()


def start(folder, *overrides):
    """What Hydra writes when a job begins."""
    file = folder / ".hydra" / "overrides.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"- {override}\n" for override in overrides))


def end(folder, reason, *, refused, job=()):
    told = {"outcome": REFUSAL | {"failure": reason}, "refused": refused, "job": list(job)}
    (folder / "outcome.json").write_text(json.dumps(told))


def test_a_job_whose_process_died_is_told(begin, capsys):
    folder = begin()
    start(folder / "0", "method=ga", "seed=1")
    start(folder / "1", "method=ga", "seed=2")
    end(folder / "1", "out of luck", refused=False, job=["method=ga", "seed=2"])
    with pytest.raises(Finished) as finished:
        foreign.close_foreign()
    assert finished.value.code == 1
    out = capsys.readouterr().out
    assert "0 done, 2 failed" in out
    assert "failed: seed=1\n    its process ended without a word" in out
    assert "failed: seed=2\n    out of luck" in out


def test_what_an_earlier_sweep_of_that_name_left_is_not_counted(begin, capsys):
    folder = begin()
    start(folder / "0", "seed=1")
    end(folder / "0", "of old", refused=False)
    foreign._begun.clear()
    begin()
    with pytest.raises(Finished) as finished:
        foreign.close_foreign()
    assert finished.value.code == 0
    assert "of old" not in capsys.readouterr().out


def test_a_sweep_of_impossible_jobs_is_refused(begin, capsys):
    folder = begin()
    for number in "01":
        start(folder / number, f"seed={number}")
        end(folder / number, "quant.bits=0: must be", refused=True)
    with pytest.raises(Finished) as finished:
        foreign.close_foreign()
    assert finished.value.code == 2
    assert capsys.readouterr().err == "quant.bits=0: must be\n"


def test_without_a_sweep_of_someone_else_s_nothing_happens(capsys):
    foreign.close_foreign()
    assert capsys.readouterr() == ("", "")
