"""Configurations composed as the command line composes them."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from unlearn_lab.paths import data_dir
from unlearn_lab.settings import Settings


@pytest.fixture
def composed():
    """Composes plain values from overrides."""
    ConfigStore.instance().store(name="settings", node=Settings)
    OmegaConf.register_new_resolver(
        "unlearn_lab.sweeps", lambda: f"file://{data_dir('sweeps')}", replace=True
    )
    OmegaConf.register_new_resolver("unlearn_lab.presets", lambda: "", replace=True)

    def make(*overrides):
        with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
            return compose("config", list(overrides))

    yield make
    GlobalHydra.instance().clear()


@pytest.fixture
def plain(composed):
    return lambda *overrides: OmegaConf.to_container(composed(*overrides), resolve=True)
