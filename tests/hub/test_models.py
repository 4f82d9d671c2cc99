"""Models of a hub in its layout, loaded by the real `from_pretrained`: pins, cache, refusals."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.hub.loading import (
    base_key,
    digests,
    load,
    log_in,
    pin,
    pin_leniently,
    read_words,
    stored_as,
)

NAME = "maker/tiny-llama"


def served(folder) -> dict[str, str]:
    """The digests of the weights in a folder's shards."""
    return digests(
        {
            name: value
            for file in folder.glob("*.safetensors")
            for name, value in load_file(file).items()
        }
    )


def changed(checkpoint, folder):
    """The checkpoint after more training: every weight has moved."""
    shutil.copytree(checkpoint, folder)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.5)
    model.save_pretrained(folder, max_shard_size="6KB")
    return folder


@pytest.fixture(scope="module")
def later(checkpoint, tmp_path_factory):
    """The same model after more training, by somebody who has put an adapter beside it."""
    folder = changed(checkpoint, tmp_path_factory.mktemp("later") / "model")
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "maker/elsewhere"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    return folder


@pytest.fixture(scope="module")
def commits(hub, checkpoint, later, tmp_path_factory):
    """Two states of a repository; `main` and `v1` are at the first, `v2` is at the second."""
    first, second = (tmp_path_factory.mktemp("commits") / name for name in ("first", "second"))
    shutil.copytree(checkpoint, first)
    (first / "README.md").write_text("is listed, and never read")
    shutil.copytree(later, second)
    (second / "adapter_config.json").unlink()
    repository = hub.repository("models", NAME)
    return repository.commit(first, "main", "v1"), repository.commit(second, "v2")


@pytest.fixture(scope="module")
def cached(online, commits, tmp_path_factory):
    """Both states as a process with network loads them, by pins of `main` and `v2`."""
    pins = [online(pin, NAME, revision) for revision in (None, "v2")]
    folders = [tmp_path_factory.mktemp("pointer") for _ in pins]
    found = [
        online(load, one.path, one.revision, folder)
        for one, folder in zip(pins, folders, strict=True)
    ]
    return pins, found


@pytest.fixture
def serve(hub, checkpoint, tmp_path):
    """Puts a changed copy of the checkpoint on the hub; `change` gets its folder."""

    def make(name, change):
        folder = tmp_path / "served"
        shutil.copytree(checkpoint, folder)
        change(folder)
        repository = hub.repository("models", name)
        repository.commit(folder, "main")
        return repository

    return make


def refused(run, *arguments) -> str:
    """The one line that a user reads."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal:
        run(*arguments)
    return str(refusal.value)


def test_the_model_is_sharded(checkpoint):
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1


def test_a_branch_and_a_tag_become_the_commits_they_are_at(cached, commits):
    pins, _ = cached
    assert [(one.path, one.revision, one.digest) for one in pins] == [
        (NAME, commit, None) for commit in commits
    ]


def test_each_pin_loads_exactly_what_was_served(cached, commits, hub):
    _, found = cached
    folder = hub.repository("models", NAME).folder
    assert found == [served(folder / commit) for commit in commits]
    assert not set(found[0].values()) & set(found[1].values())


@pytest.mark.slow
def test_the_tokenizer_comes_along(cached, online, offline, tmp_path):
    (one, _), _ = cached
    for run in (online, offline):
        assert run(read_words, one.path, one.revision, tmp_path) == [3, 19, 7]


def test_a_second_load_asks_for_no_file(cached, online, hub, tmp_path):
    (one, _), (found, _) = cached
    hub.requests()
    assert online(load, one.path, one.revision, tmp_path) == found
    assert [line for line in hub.requests() if "/resolve/" in line or "/cdn/" in line] == []


def test_a_pin_that_is_cached_needs_no_answer(cached, online, hub):
    (one, _), _ = cached
    hub.requests()
    assert online(pin, NAME, one.revision) == one
    assert hub.requests() == []


def test_a_pin_outlives_a_branch_that_moves(online, hub, checkpoint, later, plain, tmp_path):
    """Nothing of the old commit is cached yet, and the new one has an adapter to trip over."""
    config = plain("model=hf", "model.path=maker/moving", "trainer=smoke")
    repository = hub.repository("models", "maker/moving")
    old = repository.commit(checkpoint, "main")
    before, key = online(pin, "maker/moving", None), online(base_key, config)
    new = repository.commit(later, "main")
    after = online(pin, "maker/moving", None)
    assert (before.revision, after.revision) == (old, new)
    assert online(base_key, config) != key
    config["model"]["revision"] = old
    assert online(base_key, config) == key
    weights = online(load, "maker/moving", before.revision, tmp_path)
    assert weights == served(checkpoint)


@pytest.mark.parametrize("where", ["offline", pytest.param("stranded", marks=pytest.mark.slow)])
def test_what_is_cached_needs_no_hub(cached, request, tmp_path, where):
    """A name without revision too: `main` is where it was when it was last asked for."""
    run = request.getfixturevalue(where)
    pins, found = cached
    assert [run(pin, NAME, revision) for revision in (None, "v2")] == pins
    for one, expected, folder in zip(pins, found, ("old", "new"), strict=True):
        assert run(pin, NAME, one.revision) == one
        assert run(load, one.path, one.revision, tmp_path / folder) == expected


@pytest.mark.parametrize("where", ["offline", "stranded"])
@pytest.mark.parametrize("revision", [None, "v1", "c" * 40])
def test_what_is_not_cached_is_named_with_what_to_do(request, where, revision):
    run = request.getfixturevalue(where)
    message = refused(run, pin, "maker/unseen", revision)
    reasons = r"not a folder, .*not reachable.* local cache\b"
    hints = r"config\.json, \*\.safetensors .*hf download maker/unseen"
    assert re.fullmatch(rf"model\.path=maker/unseen: {reasons}.* {hints}", message)


def test_a_revision_may_stand_behind_the_name(cached, online):
    (_, second), _ = cached
    assert online(pin, f"{NAME}@v2", None) == second
    assert online(pin, f"{NAME}@v2", "v2") == second
    message = refused(online, pin, f"{NAME}@v2", "v1")
    assert message == f"model.path={NAME}@v2: the revision v1 is given as well"


def test_what_a_hub_name_stores_is_in_its_files(cached, online, serve, tmp_path):
    """An adapter's settings, and the dtype of a model; float32 holds all others."""

    def an_adapter(folder):
        for file in folder.glob("model*"):
            file.unlink()
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))

    def in_bfloat16(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))

    serve("maker/short", in_bfloat16)
    assert online(stored_as, "maker/short") == ("bf16", None)
    shutil.rmtree(tmp_path / "served")
    serve("maker/adapter", an_adapter)
    assert online(stored_as, "maker/adapter") == ("fp32", "LORA")
    assert online(stored_as, NAME) == ("fp32", None)
    assert online(stored_as, "maker/nowhere") == ("fp32", None)


def test_a_plan_needs_no_hub(stranded):
    assert stranded(pin_leniently, "maker/unseen") == ("maker/unseen", "unknown")


def test_a_model_that_was_only_named_is_not_in_the_cache(online, offline, serve):
    """Its commit is known, but none of its files."""
    serve("maker/named", lambda folder: None)
    online(pin, "maker/named", None)
    message = refused(offline, pin, "maker/named", None)
    assert re.match(r"model\.path=maker/named: .*\bnot .*local cache", message)


def test_pickled_weights_are_not_loaded(online, serve, tmp_path):
    def pickle(folder):
        for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
            file.unlink()
        torch.save({"lm_head.weight": torch.zeros(20, 16)}, folder / "pytorch_model.bin")

    serve("maker/pickled", pickle)
    found = online(pin, "maker/pickled", None)
    message = refused(online, load, found.path, found.revision, tmp_path)
    assert message.startswith("model.path=maker/pickled: cannot be loaded")
    assert "safetensors" in message


def test_custom_code_is_not_run(online, hub, serve, tmp_path):
    marker = tmp_path / "executed"

    def ask_for_code(folder):
        config = json.loads((folder / "config.json").read_text())
        code = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
        (folder / "config.json").write_text(
            json.dumps(config | {"model_type": "evil", "auto_map": code})
        )
        (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")

    serve("maker/evil", ask_for_code)
    found = online(pin, "maker/evil", None)
    message = refused(online, load, found.path, found.revision, tmp_path / "pointer")
    assert message.startswith("model.path=maker/evil: cannot be loaded")
    assert "custom code" in message
    assert not any("GET" in line and "evil.py" in line for line in hub.requests())
    assert not marker.exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_is_named_with_how_to_get_in(online, serve, tmp_path, status):
    name = f"maker/gated-{status}"
    serve(name, lambda folder: None).close("hf_secret", status)
    found = online(pin, name, None)
    message = refused(online, read_words, found.path, found.revision, tmp_path / "pointer")
    assert message.startswith(f"model.path={name}: is gated")
    address = f"https://huggingface.co/{name},"
    assert all(part in message for part in (address, "`hf auth login`", "HF_TOKEN"))
    online(log_in, "hf_secret")
    weights = online(load, found.path, found.revision, tmp_path / "pointer")
    online(log_in, None)
    assert weights == served(tmp_path / "served")


def test_a_model_that_does_not_exist_is_told(online):
    message = refused(online, pin, "maker/nothing", None)
    assert re.match(r"model\.path=maker/nothing: neither .*folder nor .*model\b", message)
    assert all(part in message for part in ("private", "`hf auth login`", "HF_TOKEN"))


@pytest.mark.parametrize("revision", ["v9", "c" * 40])
def test_a_revision_that_does_not_exist_is_told(online, commits, revision):
    message = refused(online, pin, NAME, revision, "model.retrain")
    assert re.match(rf"model\.retrain={NAME}: .*no branch.* commit {revision}\b", message)


def test_a_hub_that_is_down_is_told_and_the_cache_counts(online, serve, tmp_path):
    repository = serve("maker/down", lambda folder: None)
    found = online(pin, "maker/down", None)
    repository.fail(503)
    message = refused(online, pin, "maker/down", None)
    assert re.match(r"model\.path=maker/down: .*not available.*HTTP status 503\b", message)
    (repository.folder / "down").unlink()
    online(load, found.path, found.revision, tmp_path / "pointer")
    repository.fail(503)
    assert online(pin, "maker/down", None) == found


def test_a_model_that_was_taken_down_is_still_in_the_cache(online, serve, tmp_path):
    repository = serve("maker/gone", lambda folder: None)
    found = online(pin, "maker/gone", None)
    weights = online(load, found.path, found.revision, tmp_path / "pointer")
    shutil.rmtree(repository.folder)
    assert online(pin, "maker/gone", None) == found
    assert online(load, found.path, found.revision, tmp_path / "pointer") == weights
