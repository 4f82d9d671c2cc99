"""Names of runs: the choices, and the settings that tell a job apart from others of its sweep."""

from types import SimpleNamespace

import pytest
from hydra.types import RunMode

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.execute import wandb_runs
from unlearn_lab.execute.job import request
from unlearn_lab.execute.wandb_runs import leaf_run, training_run

CHOICES = {
    "model": "tiny",
    "dataset": "gazette",
    "method": "npo_gdr",
    "optimizer": "adamw",
    "quant": "rtn4",
}
OF_JOB = [
    "method=npo_gdr",
    "quant=rtn4",
    "optimizer.lr=0.001",
    "quant.granularity=row",
    "trainer.epochs=3",
    "runtime.home=lab",
    "+grid=mine",
    "trainer.watch.every_epochs=1",
    "quant@trainer.watch.quant=nf4",
    "report.sweep='s'",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture
def named(composed, home, tmp_path, monkeypatch):
    """Names of a job's result and of its unlearning, in a sweep with these shared overrides."""

    def names(mode, shared=None):
        if shared is not None:
            lines = "".join(f"    - {one}\n" for one in shared)
            (tmp_path / "multirun.yaml").write_text(f"hydra:\n  overrides:\n    task:\n{lines}")
        hydra = SimpleNamespace(
            mode=mode,
            runtime=SimpleNamespace(output_dir=str(tmp_path / "0")),
            overrides=SimpleNamespace(task=OF_JOB),
        )
        monkeypatch.setattr(wandb_runs.HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(wandb_runs.HydraConfig, "get", lambda: hydra)
        asked = request(composed(*SMALL, *SMALL_MODEL, f"runtime.home={home}"), CHOICES)
        unlearn = asked.plan.unlearn
        return leaf_run(asked, {}).name, training_run(asked, unlearn).name.split(unlearn.key[:8])[0]

    return names


def test_a_single_job_is_named_by_its_choices_and_settings(named):
    leaf, training = named(RunMode.RUN)
    assert leaf == "npo_gdr adamw rtn4 lr=0.001 granularity=row epochs=3"
    assert training == "npo_gdr adamw lr=0.001 epochs=3 "


def test_what_all_jobs_of_a_sweep_share_is_in_no_name(named):
    leaf, training = named(RunMode.MULTIRUN, ["method=ga,npo_gdr", "trainer.epochs=3"])
    assert leaf == "npo_gdr adamw rtn4 lr=0.001 granularity=row"
    assert training == "npo_gdr adamw lr=0.001 "


def test_without_hydra_s_file_every_setting_is_named(named):
    assert named(RunMode.MULTIRUN)[0].endswith("lr=0.001 granularity=row epochs=3")
