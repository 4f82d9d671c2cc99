"""How a sweep of someone else's is closed by what its jobs left behind."""

import json
import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unlearn_lab.cli import main
from unlearn_lab.config.exits import Finished
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute import external_sweeper

REFUSAL = {"record": None, "label": "", "hint": "", "built": {}, "reused": {}, "seconds": {}}


@pytest.fixture
def begin(composed, tmp_path):
    """Begins a sweep of Hydra's basic sweeper; returns the folder of its jobs."""

    def make(*overrides, sweeper="basic"):
        home = (f"runtime.home={tmp_path}", "report.sweep=s")
        given = [f"hydra/sweeper={sweeper}", *home, *overrides]
        with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
            config = compose("config", given, return_hydra_config=True)
        external_sweeper.ExternalSweep().on_multirun_start(config)
        return tmp_path / "hydra" / "s"

    yield make
    external_sweeper._begun.clear()


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
        external_sweeper.close_external_sweep()
    assert finished.value.code == 1
    out = capsys.readouterr().out
    assert "0 done, 2 failed" in out
    assert re.search(r"failed: seed=1\n    .*process ended", out)
    assert "failed: seed=2\n    out of luck" in out


def test_what_an_earlier_sweep_of_that_name_left_is_not_counted(begin, capsys):
    folder = begin()
    start(folder / "0", "seed=1")
    end(folder / "0", "of old", refused=False)
    external_sweeper._begun.clear()
    begin()
    with pytest.raises(Finished) as finished:
        external_sweeper.close_external_sweep()
    assert finished.value.code == 0
    assert "of old" not in capsys.readouterr().out


def test_a_sweep_of_impossible_jobs_is_refused(begin, capsys):
    folder = begin()
    for number in "01":
        start(folder / number, f"seed={number}")
        end(folder / number, "quant.bits=0: must be", refused=True)
    with pytest.raises(Finished) as finished:
        external_sweeper.close_external_sweep()
    assert finished.value.code == 2
    assert capsys.readouterr().err == "quant.bits=0: must be\n"


def test_without_a_sweep_of_someone_else_s_nothing_happens(capsys):
    external_sweeper.close_external_sweep()
    assert capsys.readouterr() == ("", "")


def test_a_dry_run_of_hydra_s_sweeper_has_no_table(begin, capsys):
    start(begin("dry=true") / "0", "method=ga")
    external_sweeper.close_external_sweep()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dry=true", "dry=true: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"),
        ("until=target", "until=target: .*before tune has"),
    ],
)
def test_a_search_without_results_is_refused(begin, capsys, override, message):
    with pytest.raises(SystemExit) as status:
        begin("tune=forget_quality", override, sweeper="optuna")
    assert status.value.code == 2
    assert re.match(message, capsys.readouterr().err)


def test_a_trial_without_a_number_ends_a_sweep_with_its_table(begin, capsys, monkeypatch):
    """Hydra's sweeper, and Optuna's unless told otherwise, raise what the trial raised."""

    def sweep(**_):
        start(begin() / "0", "method=ga")
        raise external_sweeper.TrialFailed("the loss became nan")

    monkeypatch.setattr("hydra.main", lambda **_: lambda _: sweep)
    monkeypatch.setattr("sys.argv", ["unlearn_lab"])
    with pytest.raises(Finished) as finished:
        main()
    assert finished.value.code == 1
    assert "0 done, 1 failed" in capsys.readouterr().out


def test_what_a_job_hands_over_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    """A process may be killed in the middle of writing."""
    hydra = OmegaConf.create({"runtime": {"output_dir": str(tmp_path)}, "overrides": {"task": []}})

    def torn(file, text, encoding):
        file.write_bytes(text[:9].encode(encoding))
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_text", torn)
    with pytest.raises(KeyboardInterrupt):
        external_sweeper.report_refusal("quant.bits=0", hydra)
    assert not (tmp_path / "outcome.json").exists()
