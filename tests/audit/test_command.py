"""`python -m unlearn_lab.audit`: what it runs, and how it ends."""

import json

import pytest

from unlearn_lab.audit import __main__ as command
from unlearn_lab.record import results

ASKED = ("--target", "T", "--unlearned", "U", "--dataset", "tofu", "--quant", "gptq4,rtn4")


@pytest.fixture
def audit(home, tmp_path, monkeypatch, capsys):
    """Runs the command; sweeps end with the given statuses and leave one record."""

    def run(*arguments, statuses=(0, 0), **given):
        root, record = home(**given)
        ran = []

        def end(sweep):
            ran.append(sweep)
            (name,) = (one.split("=", 1)[1] for one in sweep if one.startswith("report.sweep="))
            if statuses[len(ran) - 1] in (0, 1):
                results.append(root, record | {"sweep": name.strip('"')})
            return statuses[len(ran) - 1]

        monkeypatch.setattr(command, "_run", end)
        out = tmp_path / "out"
        with pytest.raises(SystemExit) as ended:
            command.main([*ASKED, "--home", str(root), "--out", str(out), *arguments])
        return ended.value.code, ran, out, capsys.readouterr().out

    return run


def test_the_verdicts_are_printed_and_written(audit):
    status, ran, out, printed = audit()
    assert status == 3
    assert len(ran) == 2
    assert "maker/unlearn rtn4: comes back" in printed
    assert json.loads((out / "audit.json").read_text())["status"] == 3
    assert str(out / "audit.html") in printed


@pytest.mark.parametrize(
    ("statuses", "wanted", "count"),
    [((2,), 2, 1), ((0, 2), 2, 2), ((130,), 130, 1), ((1, 0), 1, 2), ((0, 1), 1, 2)],
)
def test_how_the_sweeps_end_is_how_it_ends(audit, statuses, wanted, count):
    status, ran, out, _ = audit(statuses=statuses)
    assert (status, len(ran)) == (wanted, count)
    assert (out / "audit.html").exists() == (wanted == 1)


def test_a_dry_run_writes_nothing(audit):
    status, ran, out, _ = audit("--dry")
    assert status == 0
    assert all("dry=true" in sweep for sweep in ran)
    assert not out.exists()


def test_further_settings_are_passed_on(audit):
    _, ran, _, _ = audit("--retrain", "R", "eval.num_items=3")
    for sweep in ran:
        assert "eval.num_items=3" in sweep
        assert 'model.retrain="R"' in sweep


@pytest.mark.parametrize("left_out", ["--target", "--unlearned", "--dataset"])
def test_what_is_missing_is_asked_for(left_out, capsys):
    place = ASKED.index(left_out)
    with pytest.raises(SystemExit) as ended:
        command.main([*ASKED[:place], *ASKED[place + 2 :]])
    assert ended.value.code == 2
    assert left_out in capsys.readouterr().err


def test_help_explains_the_status(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        '0 every verdict is "stays forgotten"',
        "3 something comes back",
        "--calibration",
    ):
        assert words in shown
