"""The real W&B client, without a network."""

import json
import time
from pathlib import Path

import pytest
import wandb

from tests.report.wandb import offline
from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb import mode as mode_of
from unlearn_lab.report.wandb import sink as wandb_sink
from unlearn_lab.report.wandb.run import LeafRun
from unlearn_lab.report.wandb.training_run import TrainingRun
from unlearn_lab.unlearn.training.steps import STEPS

DEAD = "http://127.0.0.1:9"
KEY = "0123456789" * 4
CURVES = [{"step": step, "loss": 1.0 / (step + 1)} for step in range(4)]


def send(record, home, settings, trainings=None):
    return wandb_sink.send(LeafRun(record=record, name="a leaf"), home, settings, trainings or {})


def trained(home, mode="auto", timeout=2.0):
    """The unlearning that a leaf stands on."""
    run = TrainingRun(
        key="beef" * 16,
        name="a training",
        group="headline",
        tags=("unlearn",),
        config={"stage": "unlearn"},
        home=str(home),
        settings=settings(mode, timeout),
    )
    folder = Path(home) / "cache" / "unlearn" / run.key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STEPS).write_text("".join(f"{json.dumps(row)}\n" for row in CURVES))
    return {"unlearn": (run, folder)}


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path):
    """A client that knows no account, reads no file of this machine and reaches nobody."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "user" / "wandb"))
    monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    mode_of.unreachable.clear()
    wandb.teardown()
    yield
    wandb.teardown()
    mode_of.unreachable.clear()


def settings(mode="auto", timeout=2.0):
    return Wandb(mode=mode, project="unlearn_lab", entity=None, timeout=timeout)


def inspect(folder):
    """What the client's own offline reader says about a run."""
    return json.loads("\n".join(offline.read(folder, "--summary")))


@pytest.fixture
def record(make_record, make_side_files, tmp_path):
    judged = make_record() | {"verdict": "comes back"}
    return make_side_files(tmp_path, judged, "Ada <b>Quill</b>")


def test_without_a_key_everything_is_kept_in_an_offline_run(record, tmp_path, capfd):
    result = send(record, tmp_path, settings(), trained(tmp_path))
    assert result.status == "offline"
    assert result.line == (
        f"no API key is known; kept offline, send with: wandb sync {tmp_path}/wandb/offline-run-*"
    )
    assert capfd.readouterr() == ("", "")
    run = inspect(result.path)
    assert run["run_id"] == LeafRun(record=record, name="a leaf").id
    assert run["state"] == "finished"
    assert run["summary"]["scores"]["unlearned"]["quantized"]["verbmem"] == 71.3
    assert run["summary"]["recovery"]["verbmem"]["recovered_share"] == pytest.approx(67.2 / 84.3)
    assert run["summary"]["codes"]["flip_rate"] == 0.031
    assert run["summary"]["trainings"] == {"unlearn": {"id": ("beef" * 4), "url": ""}}
    assert set(run["tags"]) == {"comes back", "tiny", "gazette"}
    assert not [name for name in run["summary"] if name.startswith(("layers", "flips", "samples"))]
    assert run["config"]["choices"]["method"] == "npo_gdr"
    assert run["config"]["record"]["run_id"] == record["run_id"]
    assert wandb.run is None


def test_a_key_in_netrc_means_online(tmp_path, monkeypatch):
    assert mode_of.choose_mode("auto") == ("offline", "no API key is known")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1:9\n  login user\n  password {KEY}\n")
    assert mode_of.choose_mode("auto") == ("online", "")


def test_a_key_of_another_server_does_not_count(tmp_path):
    (tmp_path / "netrc").write_text(f"machine api.example.org\n  login user\n  password {KEY}\n")
    assert mode_of.choose_mode("auto")[0] == "offline"


def test_a_malformed_key_is_told_and_keeps_things_offline(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    mode, why = mode_of.choose_mode("auto")
    assert mode == "offline"
    assert why.startswith("the credentials were refused")
    assert "short" not in why


@pytest.mark.parametrize("asked", ["auto", "online"])
def test_wandb_mode_may_keep_things_offline_or_off(monkeypatch, asked):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert mode_of.choose_mode(asked) == ("offline", "WANDB_MODE=offline")
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode_of.choose_mode(asked)[0] == "disabled"


def test_online_without_a_key_neither_prompts_nor_fails(record, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("prompted"))
    result = send(record, tmp_path, settings("online"))
    assert result.status == "offline"
    assert "no API key is known" in result.line


def test_an_unreachable_server_costs_one_timeout_and_no_result(
    record, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    started = time.monotonic()
    first = send(record, tmp_path, settings())
    between = time.monotonic()
    second = send(record, tmp_path, settings())
    assert between - started < 2.0 + 15.0
    assert time.monotonic() - between < 2.0
    for result in (first, second):
        assert result.status == "offline"
        assert result.line.startswith("online failed: ")
        assert inspect(result.path)["summary"]["scores"]["target"]["full"]["verbmem"] == 98.0
    assert "(an earlier run)" in second.line
    assert capfd.readouterr() == ("", "")
    told = [path.read_bytes() for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in text for text in told)


def test_a_sweep_agent_gives_the_id(record, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "abcdefgh")
    result = send(record, tmp_path, settings("offline"))
    assert result.status == "offline"
    assert LeafRun(record=record, name="a leaf").id not in str(result.path)


def test_an_unwritable_home_is_told_and_not_raised(record, tmp_path, monkeypatch):
    def refuse(**_):
        raise RuntimeError("the service did not start\nand a stack of 40 frames")

    monkeypatch.setattr(wandb, "init", refuse)
    result = send(record, tmp_path, settings("offline"))
    assert result.status == "failed"
    assert result.path is None
    assert result.line.endswith("the service did not start")


def test_disabled_starts_nothing(record, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "setup", lambda *_: pytest.fail("the client was started"))
    result = send(record, tmp_path, settings("disabled"))
    assert (result.status, result.line) == ("disabled", "")
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(("mode", "timeout"), [("on", 5.0), ("auto", 0.0)])
def test_impossible_settings_are_refused(record, tmp_path, mode, timeout):
    with pytest.raises(ValueError, match=r"report\.wandb\."):
        send(record, tmp_path, settings(mode, timeout))


def test_the_same_leaf_is_kept_offline_once_for_each_sweep(record, tmp_path):
    settings = Wandb(mode="offline", project="p", entity=None, timeout=20.0)
    first = send(record, tmp_path, settings)
    again = send(record, tmp_path, settings)
    other = send({**record, "sweep": "another"}, tmp_path, settings)
    assert first.path == again.path != other.path
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2
    (first.path / "written-whole").unlink()  # as after a crash while it was written
    assert send(record, tmp_path, settings).path != first.path
