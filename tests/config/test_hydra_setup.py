"""Composing is faster than Hydra alone, and the configurations are the same."""

from collections import Counter

import omegaconf
import pytest
from hydra import initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from unlearn_lab.config.composition import RememberingRepository
from unlearn_lab.config.hydra_setup import prepare_configuration
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute.cores import num_jobs

JOBS = [
    ["method=ga"],
    ["method=npo", "quant=rtn4", "quant.group_size=16"],
    ["method=ga", "dataset=muse_news", "trainer/adapter=lora"],
    ["method=ga", "seed=7"],
    ["+grid=real_tofu", "dataset.authors=2"],
]


@pytest.fixture
def loader():
    prepare_configuration(num_jobs)
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    GlobalHydra.instance().clear()


@pytest.fixture
def compose(loader):
    def composed(overrides):
        return loader.load_configuration("config", list(overrides), RunMode.RUN)

    return composed


def remember(loader):
    loader.repository = RememberingRepository(loader.get_search_path())


def test_every_job_is_composed_as_by_hydra(loader, compose):
    remember(loader)
    found = [OmegaConf.to_yaml(compose(job)) for job in [*JOBS, *JOBS]]
    expected = _composed_by_hydra_alone(compose, loader)
    assert found == [*expected, *expected]


def _composed_by_hydra_alone(compose, loader):
    loader.repository = ConfigRepository(loader.get_search_path())
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (omegaconf.base, "parse"),
            (omegaconf._utils, "parse"),
            (defaults_list, "_create_interpolation_map"),
        ):
            patch.setattr(module, name, getattr(module, name).__wrapped__)
        return [OmegaConf.to_yaml(compose(job)) for job in JOBS]


def test_an_unknown_option_is_refused_as_by_hydra(compose):
    with pytest.raises(HydraException, match="Could not find 'model/nowhere'"):
        compose(["model=nowhere"])


def test_what_a_caller_changes_stays_out_of_the_next_job(loader, compose):
    remember(loader)
    first = compose(JOBS[0])
    first.method._target_ = "mine"
    assert compose(JOBS[0]).method._target_ != "mine"


def test_jobs_with_the_same_options_are_composed_once(loader, compose, monkeypatch):
    remember(loader)
    merged = []
    one = type(loader)._load_single_config

    def counted(self, default, repo):
        merged.append(default.config_path)
        return one(self, default=default, repo=repo)

    monkeypatch.setattr(type(loader), "_load_single_config", counted)
    first = compose(["method=ga", "seed=3"])
    whole = len(merged)
    assert "method/ga" in merged
    second = compose(["method=ga", "seed=7", "optimizer.lr=0.5"])
    assert len(merged) == whole
    assert (first.seed, second.seed, second.optimizer.lr) == (3, 7, 0.5)
    assert first.optimizer.lr != 0.5
    compose(["method=npo"])
    assert len(merged) == 2 * whole


def test_each_file_is_read_once(loader, compose, monkeypatch):
    read, load = Counter(), OmegaConf.load

    def counted(file):
        read[file.name] += 1
        return load(file)

    monkeypatch.setattr(OmegaConf, "load", counted)
    remember(loader)
    for job in JOBS:
        compose(job)
    assert set(read.values()) == {1}
    assert len(read) > 10


def test_a_job_with_a_search_path_of_its_own_finds_its_files(loader, compose, tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("_target_: mine.Loss\n")
    remember(loader)
    compose(JOBS[0])
    own = compose(["method=mine", f"hydra.searchpath=[{tmp_path}]"])
    assert own.method._target_ == "mine.Loss"
