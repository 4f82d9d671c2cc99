"""What every test has: checked shapes, no network, a tiny random Llama and a tiny corpus."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

from tests.checked import check_types

check_types()

import gc
import signal
from pathlib import Path

import hypothesis
import pytest
import pytest_socket
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.shared_repository import SharedRepository
from unlearn_lab.config.hydra_setup import prepare_configuration
from unlearn_lab.config.paths import data_dir, plugin_dir
from unlearn_lab.execute.cores import num_jobs

hypothesis.settings.register_profile(
    "repeatable",  # a busy machine must not decide whether a test passes
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """In processes that run tests: the one that hands them out does without torch, 6 s sooner."""
    import torch

    torch.set_num_threads(1)  # workers share the cores; more threads than cores slow AWQ 17 times
    gc.collect()
    gc.freeze()  # later collections leave alone what every test shares


def pytest_runtest_setup() -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session", autouse=True)
def _offline_hub(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    patch.setenv("WANDB__SAVE_REQUIREMENTS", "false")  # reads 400 libraries' metadata for each run
    patch.syspath_prepend(str(plugin_dir()))
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def _files_are_read_once():
    patch = pytest.MonkeyPatch()
    patch.setattr(config_loader_impl, "ConfigRepository", SharedRepository)
    yield
    patch.undo()


@pytest.fixture
def files_read_anew(monkeypatch):
    """For tests that change what Hydra reads."""
    monkeypatch.setattr(SharedRepository, "shared", {})
    monkeypatch.setattr(SharedRepository, "shared_compositions", {})


@pytest.fixture(autouse=True)
def _same_sigterm():
    """The command installs a handler; in this process it ends with the test that ran it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def repository() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A sharded safetensors checkpoint with a tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="6KB")
    words = Tokenizer(
        models.WordLevel(
            {"<s>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, 20)}}, unk_token="w2"
        )
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def composed():
    """Composes plain values from overrides."""
    prepare_configuration(num_jobs)

    def make(*overrides):
        with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
            return compose("config", list(overrides))

    yield make
    GlobalHydra.instance().clear()


@pytest.fixture
def plain(composed):
    return lambda *overrides: OmegaConf.to_container(composed(*overrides), resolve=True)
