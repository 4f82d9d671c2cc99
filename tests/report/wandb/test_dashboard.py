"""Workspaces and reports as code: what is sent to the server, and how the command ends."""

import json
from importlib import import_module

import pytest

from unlearn_lab.record import results
from unlearn_lab.report.html.drawing import VERDICT_COLOURS
from unlearn_lab.report.wandb import __main__ as command
from unlearn_lab.report.wandb import heat_map
from unlearn_lab.report.wandb.__main__ import payload


@pytest.fixture
def records(make_sweep):
    verdicts = ("destroyed", "not forgotten", "comes back", "stays forgotten")
    return [
        record | {"verdict": verdicts[place % 4], "sweep": "mine"}
        for place, record in enumerate(make_sweep())
    ]


@pytest.fixture
def dashboard():
    """Its library takes two seconds to import: in the process that runs these tests alone."""
    return import_module("unlearn_lab.report.wandb.dashboard")


@pytest.fixture
def asked(records, dashboard):
    return dashboard.shown("me", "p", "mine", records)


def panels(spec):
    """The kinds and titles of all panels, by section."""
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {
        section["name"]: [(one["viewType"], one["config"]) for one in section["panels"]]
        for section in sections
    }


def test_a_workspace_has_every_section_and_its_metrics(asked, dashboard):
    found = panels(payload(dashboard.workspace(asked)))
    assert list(found) == ["What came back", "Forgetting and utility", "Trainings"]
    kinds = {name: [kind for kind, _ in shown] for name, shown in found.items()}
    assert kinds["What came back"] == ["Media Browser", "Scatter Plot", "Scatter Plot"]
    assert kinds["Forgetting and utility"][-1] == "Parallel Coordinates Plot"
    scatter = found["What came back"][1][1]
    assert scatter["xAxis"] == "summary:scores.unlearned.full.verbmem"
    assert scatter["yAxis"] == "summary:scores.unlearned.quantized.verbmem"
    columns = found["Forgetting and utility"][-1][1]["columns"]
    assert {"accessor": "config:choices.value.method"} in columns
    assert found["Trainings"][0][1]["metrics"] == ["train/loss"]


def test_runs_are_grouped_by_training_and_coloured_by_verdict(asked, records, dashboard):
    spec = payload(dashboard.workspace(asked))
    (runs,) = spec["section"]["runSets"]
    assert [group["name"] for group in runs["grouping"]] == ["stages.value.unlearn", "verdict"]
    assert '"mine"' in json.dumps(runs["filters"])
    colours = json.dumps(spec)
    for record in records:
        assert record["stages.unlearn"] in colours
    assert VERDICT_COLOURS["comes back"] in colours


def test_the_heat_map_is_the_stored_chart_over_the_table_of_a_sweep(records, dashboard):
    asked = dashboard.shown("me", "p", "mine", records, "me/a_chart")
    found = panels(payload(dashboard.workspace(asked)))
    kind, config = found["What came back"][0]
    assert kind == "Vega2"
    assert config["panelDefId"] == "me/a_chart"
    assert heat_map.TABLE in json.dumps(config["userQuery"])
    assert config["fieldSettings"] == {name: name for name in heat_map.FIELDS}
    text = json.dumps(heat_map.spec())
    assert all(f"${{field:{name}}}" in text for name in heat_map.FIELDS)


def test_the_chart_is_stored_once_for_each_entity(server, tmp_path):
    names = [heat_map.store(entity, tmp_path) for entity in ("me", "me", "a-team")]
    assert names == [heat_map.chart_name(entity) for entity in ("me", "me", "a-team")]
    made = [told for name, told in server.told if name == "CreateCustomChart"]
    assert [(one["entity"], one["access"]) for one in made] == [
        ("me", "PRIVATE"),
        ("a-team", "PRIVATE"),
    ]
    assert json.loads(made[0]["spec"]) == heat_map.spec()


def test_a_server_without_charts_costs_the_heat_map_only(
    server, records, tmp_path, capsys, monkeypatch
):
    def refuse(entity, home):
        raise RuntimeError("failed to create custom chart")

    monkeypatch.setattr(heat_map, "store", refuse)
    results.append(tmp_path, records[0])
    command.main(["workspace", "--entity", "me", "--project", "p", "--home", str(tmp_path)])
    told = capsys.readouterr()
    assert told.err.startswith("heat map: not stored (failed to create custom chart)")
    assert "/me/p" in told.out
    saved = [told for name, told in server.told if str(name).lower().startswith("upsertview")]
    assert "came_back" in json.dumps(saved)


def test_without_records_the_metrics_are_those_of_muse(dashboard):
    asked = dashboard.shown("me", "p", None, [])
    assert (asked.memories, asked.utility) == (("verbmem", "knowmem"), "utility")
    spec = payload(dashboard.workspace(asked))
    assert spec["section"]["runSets"][0]["filters"]["filters"] == []


def test_a_report_has_results_and_trainings_apart(server, asked, dashboard):
    spec = payload(dashboard.report(asked))
    grids = [block for block in spec["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 3
    assert '"train"' in json.dumps(grids[2]["metadata"]["runSets"])
    assert '"eval"' in json.dumps(grids[0]["metadata"]["runSets"])


@pytest.mark.parametrize("kind", ["workspace", "report"])
def test_the_command_saves_it_and_prints_its_address(server, records, tmp_path, capsys, kind):
    for record in records:
        results.append(tmp_path, record)
    command.main([kind, "--entity", "me", "--project", "p", "--home", str(tmp_path)])
    assert "/me/p" in capsys.readouterr().out
    saved = [told for name, told in server.told if str(name).lower().startswith("upsertview")]
    assert saved
    assert "scores.unlearned.full.verbmem" in json.dumps(saved)


def test_what_would_be_saved_can_be_printed_without_an_account(tmp_path, capsys):
    command.main(["workspace", "--entity", "me", "--home", str(tmp_path), "--json"])
    assert list(panels(json.loads(capsys.readouterr().out)))


def test_an_unknown_sweep_is_refused_with_those_that_exist(records, tmp_path, capsys):
    results.append(tmp_path, records[0])
    with pytest.raises(SystemExit) as ended:
        command.main(["workspace", "--home", str(tmp_path), "--sweep", "other"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("there are mine\n")


def test_an_error_of_the_server_ends_with_one_line(tmp_path, capsys, monkeypatch, dashboard):
    def refuse(asked):
        raise RuntimeError("no such project\nand a stack")

    monkeypatch.setattr(command, "stored_chart", lambda entity, home: None)
    monkeypatch.setattr(dashboard, "workspace", refuse)
    with pytest.raises(SystemExit) as ended:
        command.main(["workspace", "--entity", "me", "--home", str(tmp_path)])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "workspace: not saved (no such project)\n"
