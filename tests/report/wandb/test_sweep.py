"""The run of a whole sweep: its table, its drawing, its report, and where to look."""

import pytest
import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb import sweep as sweep_run
from unlearn_lab.report.wandb.sink import send
from unlearn_lab.report.wandb.sweep import send_sweep, summary_table


def settings(mode="auto"):
    return Wandb(mode=mode, project="unlearn_lab", entity=None, timeout=10.0)


@pytest.fixture
def judged(make_sweep):
    return [record | {"verdict": "comes back", "sweep": "a b/c"} for record in make_sweep()]


def test_the_closing_line_leads_to_project_and_group(server, judged, thresholds, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>the report</p>")
    line = send_sweep(judged, tmp_path, settings(), thresholds, report)
    project = f"{server.url}/me/p"
    assert line == f"{project}, this sweep: {project}/groups/a%20b%2Fc"
    told = server.runs[0]
    assert (told["jobType"], told["groupName"], told["displayName"]) == ("sweep", "a b/c", "a b/c")


def test_offline_it_says_why_and_how_to_send_it(judged, thresholds, tmp_path, records_of):
    wandb.teardown()
    line = send_sweep(judged, tmp_path, settings("offline"), thresholds, None)
    assert line == f"kept offline, send with: wandb sync {tmp_path}/wandb/offline-run-*"
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    keys = {key for row in records_of(folder)["history"] for key in row["item"]}
    assert any(key.startswith("results") for key in keys)
    assert any(key.startswith("came_back") for key in keys)


def test_it_is_kept_offline_where_online_fails(server, judged, thresholds, tmp_path, monkeypatch):
    asked, real = [], wandb.init

    def only_offline(*, mode, **settings):
        asked.append(mode)
        if mode == "online":
            raise RuntimeError("the server is away")
        return real(mode=mode, **settings)

    monkeypatch.setattr(wandb, "init", only_offline)
    line = send_sweep(judged, tmp_path, settings(), thresholds, None)
    assert asked == ["online", "offline"]
    assert line.startswith("online failed: the server is away; kept offline, send with: wandb sync")


def test_installed_packages_are_listed_for_the_sweep_not_for_each_result(
    judged, leaf, thresholds, tmp_path, monkeypatch
):
    found, real = [], wandb.init

    def seen(*, job_type, settings, **further):
        found.append((job_type, settings.x_save_requirements))
        return real(job_type=job_type, settings=settings, **further)

    monkeypatch.setattr(wandb, "init", seen)
    send(leaf(judged[0]), tmp_path, settings("offline"), {})
    send_sweep(judged, tmp_path, settings("offline"), thresholds, None)
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")  # an agent writes no run for the sweep
    send(leaf(judged[1]), tmp_path, settings("offline"), {})
    assert found == [("eval", False), ("sweep", True), ("eval", True)]


def test_the_table_is_that_of_the_terminal(judged, thresholds):
    columns, rows = summary_table(judged, thresholds)
    assert columns[:4] == ["method", "optimizer", "quant", "verdict"]
    assert "VerbMem (full)" in columns
    assert "KnowMem back" in columns
    assert all(len(row) == len(columns) for row in rows)
    assert {row[3] for row in rows} >= {"control", "comes back", "destroyed"}


@pytest.mark.parametrize("variable", [None, "WANDB_SWEEP_ID"])
def test_nothing_is_sent_when_it_is_off_or_under_an_agent(
    judged, thresholds, tmp_path, monkeypatch, variable
):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was started"))
    if variable:
        monkeypatch.setenv(variable, "abc")
    mode = "offline" if variable else "disabled"
    assert send_sweep(judged, tmp_path, settings(mode), thresholds, None) == ""


def test_an_error_costs_no_sweep(judged, thresholds, tmp_path, monkeypatch, caplog):
    def refuse(**_):
        raise RuntimeError("the service did not start\nand a stack")

    monkeypatch.setattr(sweep_run.wandb, "init", refuse)
    assert send_sweep(judged, tmp_path, settings("offline"), thresholds, None) == ""
    assert [text for text in caplog.messages if "was not sent: the service did not start" in text]
