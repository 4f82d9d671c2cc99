"""How the sweeper hands jobs to a launcher."""

import errno
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from tests.messages import tells


def test_jobs_are_numbered_on_from_launch_to_launch(monkeypatch):
    """Hydra names a job's folder by its number."""
    from hydra_plugins.lab_sweeper import LabSweeper

    numbers = []

    def launch(overrides, first):
        numbers.append((first, [name for (name,) in overrides]))
        return overrides

    sweeper = LabSweeper(max_batch_size=None)
    monkeypatch.setattr(sweeper, "_launcher", lambda kind: SimpleNamespace(launch=launch))
    monkeypatch.setattr("unlearn_lab.execute.sweep.outcome_of", lambda result: result)
    a, b, c = (SimpleNamespace(kind="training", overrides=[name]) for name in "abc")
    assert sweeper._start([a, b]) + sweeper._start([c]) == [["a"], ["b"], ["c"]]
    assert numbers == [(0, ["a", "b"]), (2, ["c"])]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "runtime.home=lab: cannot be written"),
        (OSError(errno.ECHILD, "No child processes"), "No child processes"),
        (RuntimeError("a worker has died"), "a worker has died"),
    ],
)
def test_jobs_that_a_launcher_loses_are_started_one_by_one(monkeypatch, caplog, error, reason):
    from hydra_plugins.lab_sweeper import LabSweeper

    started = []

    def launch(overrides, first):
        started.append(len(overrides))
        raise error

    sweeper = LabSweeper(max_batch_size=None)
    sweeper._setup = {"config": OmegaConf.create({"runtime": {"home": "lab"}})}
    monkeypatch.setattr(sweeper, "_launcher", lambda kind: SimpleNamespace(launch=launch))
    lost = [SimpleNamespace(kind="training", overrides=[name]) for name in "ab"]
    outcomes = sweeper._start(lost)
    assert started == [2, 1, 1]
    assert tells(caplog.text, "2 jobs are lost", reason, "one by one")
    for outcome in outcomes:
        assert tells(outcome.failure, "without a result", reason)
