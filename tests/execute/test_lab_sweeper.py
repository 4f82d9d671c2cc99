"""How the sweeper hands jobs to a launcher."""

from types import SimpleNamespace


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
