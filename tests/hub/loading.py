"""What is asked of the hub, as functions that a process of its own can run; see conftest.py."""

import hashlib
import importlib
import multiprocessing
import os
from pathlib import Path


def prepare(environment: dict[str, str]) -> None:
    """The first thing in a new process: whatever reads these variables is imported later."""
    os.environ.pop("HF_HUB_OFFLINE", None)
    os.environ.update(environment)
    import pytest_socket

    from tests.checked import check_types

    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)
    check_types()


def pin(name: str, revision: str | None, setting: str = "model.path"):
    """What stands for a model in keys."""
    from unlearn_lab.graph.content import ContentKey

    return ContentKey(Path(os.environ["HF_HOME"]) / "memory").of_model(name, revision, setting)


def pin_leniently(name: str) -> tuple[str, str | None]:
    """What stands for a model in a plan alone."""
    from unlearn_lab.graph.content import ContentKey

    found = ContentKey(Path(os.environ["HF_HOME"]) / "memory", lenient=True).of_model(name, None)
    return found.path, found.revision


def stored_as(name: str) -> tuple[str, str | None]:
    """The dtype that holds a model, and its kind if it is an adapter."""
    from unlearn_lab.models.stored import adapter_settings, stored_dtype

    settings = adapter_settings(name, None)
    return stored_dtype(name, None), None if settings is None else settings["peft_type"]


def pin_dataset(name: str, revision: str | None):
    from unlearn_lab.graph.content import ContentKey

    return ContentKey(Path(os.environ["HF_HOME"]) / "memory").of_dataset(name, revision)


def point_at(path: str, revision: str | None, folder: Path) -> None:
    """Makes `folder` stand for a model of the hub, without custom code."""
    from unlearn_lab.models.load import Source
    from unlearn_lab.models.pointer import point

    folder.mkdir(exist_ok=True)
    tokenizer = {"tokenizer": None, "tokenizer_revision": None}
    point(folder, Source(path=path, revision=revision, trust_remote_code=False, **tokenizer))


def read_words(path: str, revision: str | None, folder: Path) -> list[int]:
    """What the model's tokenizer makes of some words."""
    from unlearn_lab.models.load import load_tokenizer

    point_at(path, revision, folder)
    return load_tokenizer(folder)("w3 w19 w7")["input_ids"]


def load(path: str, revision: str | None, folder: Path) -> dict[str, str]:
    """The digests of the model's weights."""
    from unlearn_lab.models.load import load_model

    point_at(path, revision, folder)
    return digests(load_model(folder, "fp32").state_dict())


def base_key(config: dict[str, object]) -> str:
    """The key of the stage that stands for the model, as a run with this configuration plans it."""
    from unlearn_lab.execute.arithmetic import with_arithmetic
    from unlearn_lab.execute.parts import build_parts
    from unlearn_lab.graph.content import ContentKey
    from unlearn_lab.plan.job_graph import plan

    config = with_arithmetic(config)
    return plan(
        build_parts(config), config, ContentKey(Path(os.environ["HF_HOME"]) / "memory")
    ).base.key


def log_in(token: str | None) -> None:
    """Every later request of this process carries the token, or none."""
    os.environ.pop("HF_TOKEN", None)
    if token is not None:
        os.environ["HF_TOKEN"] = token


def read_texts(**fields) -> tuple[str, ...]:
    """One column of a data set, by the source that calibration uses."""
    from unlearn_lab.data.texts import HubTexts

    return HubTexts(**fields).load()


def read_muse(**fields):
    """A whole corpus in MUSE's layout."""
    from unlearn_lab.data.muse import MuseCorpus

    return MuseCorpus(**fields).load()


def download(name: str, revision: str) -> None:
    """What `hf download --repo-type dataset` does."""
    from huggingface_hub import snapshot_download

    snapshot_download(name, revision=revision, repo_type="dataset")


def digests(weights) -> dict[str, str]:
    """SHA-256 of each tensor's bytes."""
    return {
        name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        for name, value in weights.items()
    }


def execute(arguments: list[str], folder: Path) -> tuple[int, str]:
    """How the command line ends, and its messages; in a process forked from this one."""
    from tests.e2e import command

    importlib.import_module("tests.e2e.everything")
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=command.run, args=(arguments, folder, dict(os.environ), ("127.0.0.1", "localhost"))
    )
    process.start()
    process.join()
    return process.exitcode, (folder / "err").read_text()


def read_tofu(**asked):
    """The corpus of TOFU."""
    from unlearn_lab.data.tofu import TofuCorpus

    return TofuCorpus(**asked).load()
