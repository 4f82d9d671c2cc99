"""The command on a small cache of its own: what it prints, what it leaves, how it ends."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from tests.graph.builders import make, stage
from unlearn_lab.cache.__main__ import main
from unlearn_lab.graph import manifest
from unlearn_lab.graph.claim import ClaimTimeouts
from unlearn_lab.graph.lease import lease
from unlearn_lab.record import results

TIMEOUTS = ClaimTimeouts(heartbeat=0.05, poll=0.02, stale_after=60.0)
RTN = {"_target_": "unlearn_lab.quantize.rtn.RTN", "bits": 4}
GA = {"forget": {"_target_": "unlearn_lab.unlearn.objectives.ga.GA"}, "retain": None}
CORPUS = stage("corpus")
TARGET = stage("target", {"corpus": CORPUS}, learn=["forget", "retain"], seed=0)
UNLEARN = stage("unlearn", {"target": TARGET}, method=GA, seed=0)
LOST = stage("unlearn", {"target": TARGET}, method=GA, seed=1)
EVALUATE = stage("evaluate", {"model": UNLEARN}, quant=RTN)
RECORD = stage("record", {"unlearn": UNLEARN, "unlearned.quantized": EVALUATE})
CHOICES = {"model": "tiny", "dataset": "gazette", "method": "ga", "optimizer": "adamw"}
MODEL = ("config.json", "model.safetensors", "mask.safetensors", "steps.jsonl")


def build(asked, inputs, work):
    files = {"unlearn": MODEL, "record": ("record.json", "layers.json", "samples.json")}
    for name in files.get(asked.name, ("value",)):
        (work / name).write_text(json.dumps({"of": asked.name}) * 100)
    return {"weights": "bf16"}


@pytest.fixture
def home(tmp_path):
    """One finished leaf of the sweep `first`, and a model that no record stands on."""
    home = tmp_path / "lab"
    for leaf in (RECORD, LOST):
        make(home / "cache", build).get_or_build(leaf)
    folder = f"cache/record/{RECORD.key}"
    record = {
        "run_id": RECORD.key, "sweep": "first", "quant": "rtn4", "seed": 0, **CHOICES,
        "stages.unlearn": UNLEARN.key, "scores.unlearned.full.knowmem": 1.5,
        "layers": f"{folder}/layers.json", "samples": f"{folder}/samples.json",
    }  # fmt: skip
    results.append(home, record)
    return home


@pytest.fixture
def run(home, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        command, *further = arguments
        places = [] if "--home" in further else ["--home", str(home)]
        status = main([command, *places, "--silence", "0.5", *further])
        seen = capsys.readouterr()
        return status, seen.out, seen.err

    return call


def folder(home, wanted):
    return home / "cache" / wanted.name / wanted.key


def there(home):
    return {path.parent.parent.name for path in (home / "cache").glob("*/*/manifest.json")}


def age(home, wanted, days):
    then = time.time() - days * 86400
    os.utime(folder(home, wanted) / manifest.FILE, (then, then))


def listed(run, *selectors):
    return {entry["key"] for entry in json.loads(run("ls", "--json", *selectors)[1])}


def test_ls_tells_of_each_artifact_in_words(home, run):
    status, out, _ = run("ls")
    assert status == 0
    lines = {line.split()[1]: " ".join(line.split()[2:]) for line in out.splitlines()[2:-1]}
    assert "ga adamw seed=0" in lines[UNLEARN.key[:12]]
    assert "GA seed=1" in lines[LOST.key[:12]]
    assert "unlearn ga adamw seed=0, RTN 4 bits" in lines[EVALUATE.key[:12]]
    assert "forget and retain, seed=0" in lines[TARGET.key[:12]]
    assert "tiny gazette ga adamw rtn4 seed=0" in lines[RECORD.key[:12]]
    assert "0 min first" in lines[CORPUS.key[:12]]
    assert re.search(r"6 artifacts, 27\.\d kB, in", out.splitlines()[-1])


def test_ls_for_machines(home, run):
    entry = json.loads(run("ls", "--json", "--stage", "record")[1])[0]
    assert (entry["stage"], entry["key"], entry["sweeps"]) == ("record", RECORD.key, ["first"])
    assert (entry["in_use"], entry["damage"], entry["kind"]) == (None, None, "artifact")
    assert entry["bytes"] == sum(file.stat().st_size for file in folder(home, RECORD).iterdir())


def test_selectors_combine(home, run):
    age(home, TARGET, 31)
    age(home, LOST, 31)
    assert listed(run, "--older-than", "30d") == {TARGET.key, LOST.key}
    assert listed(run, "--older-than", "30d", "--stage", "unlearn") == {LOST.key}
    assert listed(run, "--older-than", "30d", "--sweep", "first") == {TARGET.key}
    assert listed(run, "--older-than", "32d") == set()
    assert listed(run, "--key", TARGET.key[:8]) == {TARGET.key}
    with lease(home / "cache", [LOST.key], TIMEOUTS):
        used = {e["key"] for e in json.loads(run("ls", "--json")[1]) if e["in_use"]}
    assert used == {LOST.key}


def test_unreachable_is_what_no_record_stands_on_at_any_depth(run):
    """The record names neither target nor corpus; the manifests do."""
    assert listed(run, "--unreachable") == {LOST.key}


def test_what_a_record_names_is_reachable_without_the_records_artifact(home, run):
    run("prune", "--stage", "record", "--yes")
    assert listed(run, "--unreachable") == {LOST.key, EVALUATE.key}


def test_size_counts_leftovers_and_the_memo_too(home, run):
    (home / "cache" / "digests.json").write_text("x" * 3000)
    work = home / "cache" / "unlearn" / f"{stage().key}.work.0a1b"
    work.mkdir()
    (work / "checkpoint").write_text("x" * 5000)
    status, out, _ = run("size")
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert status == 0
    assert rows["unlearn"][1] == "2"
    assert rows["unlearn"][-2:] == ["5.0", "kB"]
    assert rows["(other files)"][-2:] == ["3.0", "kB"]
    total = sum(path.stat().st_size for path in (home / "cache").rglob("*") if path.is_file())
    assert rows["total"][1:] == ["6", f"{total / 1000:.1f}", "kB"]


def test_prune_shows_first_and_removes_when_told(home, run):
    size = sum(path.stat().st_size for path in folder(home, LOST).iterdir()) / 1000
    status, out, _ = run("prune", "--unreachable")
    assert status == 0
    assert f"Would free {size:.1f} kB (1 artifact)" in out
    assert folder(home, LOST).exists()
    status, out, _ = run("prune", "--key", LOST.key[:8], "--yes")
    assert f"Freed {size:.1f} kB (1 artifact)." in out
    assert not folder(home, LOST).exists()
    assert there(home) == {"corpus", "target", "unlearn", "evaluate", "record"}
    assert "Nothing to remove." in run("prune", "--unreachable", "--yes")[1]


def test_prune_alone_removes_leftovers_only(home, run):
    work = home / "cache" / "unlearn" / f"{stage().key}.work.0a1b"
    work.mkdir()
    (work / "checkpoint").write_text("x")
    status, out, _ = run("prune", "--yes")
    assert status == 0
    assert "1 of these: unfinished builds" in out
    assert not work.exists()
    assert len(list((home / "cache").glob("*/*/manifest.json"))) == 6


def test_prune_says_what_is_lost_and_what_is_not(home, run):
    out = run("prune", "--stage", "unlearn")[1]
    assert re.search("^1 of these: inputs .*stay", out, re.MULTILINE)
    assert "sample answers" not in out
    assert re.search("1 of these: .*sample answers", run("prune", "--stage", "record")[1])


def test_a_sweep_is_pruned_with_what_it_shares_and_this_is_said(home, run):
    results.append(home, {"run_id": "0", "sweep": "second", "stages.unlearn": LOST.key})
    out = run("prune", "--sweep", "second", "--yes")[1]
    assert "2 of these: shared" in out
    assert not folder(home, LOST).exists()
    assert there(home) == {"unlearn", "evaluate", "record"}


def test_prune_keeps_what_a_running_process_uses(home, run):
    keys = [needed.key for needed in LOST.walk()]
    with lease(home / "cache", keys, TIMEOUTS):
        status, out, _ = run("prune", "--older-than", "0d", "--yes")
        assert f"process {os.getpid()} on" in out
    assert status == 0
    assert re.search("^3 of these: in use .*kept", out, re.MULTILINE)
    assert there(home) == {"corpus", "target", "unlearn"}
    assert folder(home, LOST).exists()


def test_without_any_record_nothing_is_called_unreachable(home, run):
    results.records_path(home).unlink()
    status, _, err = run("prune", "--unreachable", "--yes")
    assert status == 2
    assert "holds no record" in err
    assert len(there(home)) == 5


def test_verify_reads_every_byte_and_removes_when_told(home, run):
    status, out, _ = run("verify")
    assert (status, "No damage found." in out) == (0, True)
    changed = folder(home, TARGET) / "value"
    changed.write_text(changed.read_text().replace("t", "T"))
    status, out, _ = run("verify")
    assert status == 1
    assert f"damaged: target {TARGET.key[:12]}" in out
    assert "was changed" in out
    assert run("verify", "--stage", "record")[0] == 0
    assert "Would free" in run("verify", "--remove")[1]
    assert folder(home, TARGET).exists()
    assert run("verify", "--remove", "--yes")[0] == 1
    assert not folder(home, TARGET).exists()
    assert run("verify")[0] == 0


def test_a_result_is_exported_with_its_model(home, run, tmp_path):
    status, out, _ = run("export", RECORD.key, str(tmp_path / "out"))
    assert status == 0
    assert f"unlearn {UNLEARN.key[:12]}: 2 files, " in out
    copied = tmp_path / "out" / "unlearned"
    names = {path.name for path in copied.iterdir()}
    assert names == {"config.json", "model.safetensors", "provenance.json"}
    told = json.loads((copied / "provenance.json").read_text())
    assert (told["key"], told["stage"]["params"]["seed"]) == (UNLEARN.key, 0)
    assert told["facts"] == {"weights": "bf16"}
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["scores.unlearned.full.knowmem"] == 1.5
    for side in ("layers", "samples"):
        assert (tmp_path / "out" / record[side]).read_text() == (
            folder(home, RECORD) / record[side]
        ).read_text()
    assert list((home / "cache" / "leases").iterdir()) == []


def test_a_stage_is_exported_by_the_beginning_of_its_key(home, run, tmp_path):
    (tmp_path / "out").mkdir()
    assert run("export", TARGET.key[:10], str(tmp_path / "out"))[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"value", "provenance.json"}


def test_an_export_of_a_damaged_artifact_leaves_nothing(home, run, tmp_path):
    (folder(home, UNLEARN) / "model.safetensors").write_text("")
    status, _, err = run("export", RECORD.key, str(tmp_path / "out"))
    assert status == 2
    assert "has 0 bytes" in err
    assert [path.name for path in tmp_path.iterdir()] == ["lab"]


def test_a_pointer_is_not_exported_but_said(home, run, tmp_path):
    """An imported model lies elsewhere."""

    def point(asked, inputs, work):
        (work / "pointer.json").write_text('{"path": "/models/muse"}')
        return {}

    imported = stage("target", path="/models/muse")
    make(home / "cache", point).get_or_build(imported)
    status, _, err = run("export", imported.key, str(tmp_path / "out"))
    assert status == 2
    assert "is a pointer to /models/muse" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ls", "--stage", "unlaern"), r"--stage=unlaern: did you mean unlearn\?"),
        (("prune", "--key", "f00d"), r"f00d"),
        (("prune", "--sweep", "frist"), r"--sweep=frist: did you mean first\?"),
        (("ls", "--older-than", "30"), "--older-than=30: .*min, h, d or w"),
        (("size", "--home", "nowhere"), "--home=nowhere: no cache there"),
        (("export", "zz", "out"), "KEY=zz: no artifact .*prefix"),
        (("export", "", "out"), "KEY=: no artifact .*prefix"),
        (("export", RECORD.key, "."), "^/.*: .*not empty"),
    ],
)
def test_refusals_are_one_line(run, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == 2
    assert re.search(told, err)
    assert err.count("\n") == 1


def test_an_ambiguous_beginning_is_refused(home, run):
    for number in range(20):  # 26 keys begin with one of 16 digits
        make(home / "cache", build).get_or_build(stage("corpus", x=number))
    digits = [path.parent.name[0] for path in (home / "cache").glob("*/*/manifest.json")]
    digit = next(one for one in digits if digits.count(one) > 1)
    status, _, err = run("export", digit, "out")
    assert (status, "give a longer one" in err) == (2, True)


def test_the_command_starts_without_torch(home):
    start = "import sys; from unlearn_lab.cache.__main__ import main; main(sys.argv[1:]); "
    code = [sys.executable, "-c", f"{start}sys.exit('torch' in sys.modules)"]
    found = subprocess.run([*code, "size", "--home", str(home)], capture_output=True, check=False)
    assert (found.returncode, found.stderr) == (0, b"")
