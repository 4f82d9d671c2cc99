"""What a launcher cannot do is refused before anything is trained."""

import re

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+cluster=local", "hydra.launcher.n_jobs=9999"], "hydra.launcher.n_jobs=9999, runtime."),
        (["+cluster=local", "runtime.threads=9999"], "hydra.launcher.n_jobs=1, runtime.threads="),
        (["+cluster=slurm"], "hydra/launcher=lab_slurm: .*no Slurm .*no sbatch"),
        (["-m", "dry=true,false"], "dry: .*same in all jobs"),
        (
            ["+cluster=local", "+hydra.sweeper.resources.evaluating.colour=1"],
            "Key 'colour' not in 'JobLibLauncherConf'",
        ),
    ],
)
def test_in_one_line(refusing_lab, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    run = refusing_lab(*arguments)
    assert run.status == 2
    *told, line = run.err.splitlines()
    assert re.match(message, line)
    assert told in ([], ["2 jobs: checking settings, models and texts"])
    assert not (run.home / "cache").exists()
