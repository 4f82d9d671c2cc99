"""Folds of MUSE's layout on the command line: a chain that goes on after a kill, and its record."""

import json
import os
import random
import re
import signal

import pytest

from tests.data.corpora import muse_folder
from tests.e2e import command
from tests.e2e.artifacts import SMALL, SMALL_MODEL, built, first_steps, stamps, unlearned
from tests.e2e.test_interruptions import figures, wait_for
from unlearn_lab.record.results import read_records, read_sweeps

SETTINGS = (
    *(setting for setting in SMALL if not setting.startswith("dataset.")),
    *SMALL_MODEL,
    "dataset=muse_news",
    "method=npo_gdr",
    "quant=rtn4",
    "optimizer.lr=1e-3",
    "runtime.checkpoint_seconds=0",
    "report.html=true",
)
CHAIN = ("dataset.folds=sustainability", "dataset.fold=4")
SWEPT = "dataset.fold=1,2,3,4"


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def papers(name, number=5):
    """Texts of words drawn at random, so that no two of their likelihoods are alike."""
    draw = random.Random(name)
    words = [f"{a}{b}" for a in ("la", "mo", "ri", "ten") for b in ("bel", "dor", "fin", "gus")]
    return [" ".join(draw.choices(words, k=22)) for _ in range(number)]


@pytest.fixture
def news(tmp_path):
    """The first fold is raw/forget, as in MUSE's repository, where the others have their files."""
    parts = {
        f"{kind}__forget_{fold}": papers(f"{kind} {fold}")
        for kind in ("sust", "scal")
        for fold in (2, 3, 4)
    }
    read = {kind: papers(kind, 12) for kind in ("privleak__forget", "privleak__holdout")}
    return muse_folder(tmp_path / "news", raw__forget=papers("first"), **parts, **read)


@pytest.fixture
def run(lab, news, tmp_path):
    """The command on the folder, in a home of the given name."""

    def execute(*arguments, home="lab"):
        place = tmp_path / home
        where = (f"dataset.path={news}", f"runtime.home={place}")
        return lab(*SETTINGS, *where, *arguments, small=False, home=place)

    return execute


@pytest.fixture
def kill(forkserver, news, tmp_path):
    """Starts the command in a home of the given name, and kills it once `found` holds."""

    def execute(*arguments, home, found):
        folder, where = tmp_path / f"killed {home}", tmp_path / home
        folder.mkdir()
        settings = [*SETTINGS, f"dataset.path={news}", f"runtime.home={where}", *arguments]
        process = forkserver.Process(target=command.run, args=(settings, folder, dict(os.environ)))
        process.start()
        wait_for(found, process)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL

    return execute


def steps(record):
    """The keys of the chain, the first fold's first."""
    names = [*sorted(key for key in record if key.startswith("stages.unlearn_")), "stages.unlearn"]
    return [record[name] for name in names]


@pytest.mark.slow
def test_a_chain_that_is_killed_in_its_third_fold_goes_on_there(run, kill, tmp_path):
    arguments, cut = (*CHAIN, "trainer.epochs=16"), tmp_path / "cut"
    whole = run(*arguments, home="whole").records[-1]
    keys = steps(whole)
    sign = f"{keys[2]}.work.*/last.ckpt"
    kill(*arguments, home="cut", found=lambda: list(unlearned(cut).glob(sign)))
    before = stamps(cut)
    finished = {path.parent.name for path in unlearned(cut).glob("*/manifest.json")}
    assert finished == {*keys[:2]}
    (checkpoint,) = unlearned(cut).glob(sign)
    (checkpoint.parent / "left").touch()

    again = run(*arguments, home="cut")
    assert again.status == 0, again.err
    assert stamps(cut).items() > before.items()
    assert re.findall(r"unlearn fold (\d) [0-9a-f]{8}: ", again.err) == ["3", "4"]
    assert (unlearned(cut) / keys[2] / "left").exists()
    assert first_steps(unlearned(cut) / keys[2]) == 1
    record = again.records[-1]
    assert figures(record) == figures(whole) | {key: record[key] for key in ("layers", "samples")}
    assert steps(record) == keys
    for key in keys:
        files = [unlearned(home) / key / "model.safetensors" for home in (cut, tmp_path / "whole")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert not list((cut / "cache").glob("*/*.work*"))


@pytest.mark.slow
def test_after_the_last_fold_a_sweep_over_all_only_evaluates(run):
    last = run(*CHAIN)
    assert last.status == 0, last.err
    before = stamps(last.home)
    swept = run("-m", CHAIN[0], SWEPT)
    assert swept.status == 0, swept.err
    counts = built(swept.home)
    assert [counts[name] for name in ("corpus", "target", "retrain", "unlearn")] == [5, 1, 1, 4]
    assert counts["evaluate"] == 2 * (4 + 2)
    after = stamps(swept.home)
    assert {path: after[path] for path in before} == before
    added = {path.split("/")[-3] for path in after.keys() - before.keys()}
    assert added == {"evaluate", "codes", "widths", "record"}
    assert "evaluate unlearn fold 3 (RTN 4 bits) " in swept.err
    assert re.search(r"method +optimizer +quant +fold +VerbMem", swept.out)
    assert "<th>fold</th>" in (swept.home / "results" / "report.html").read_text()
    chain = steps(last.records[-1])
    assert [steps(record) for record in swept.records[1:]] == [chain[:n] for n in (1, 2, 3)]
    (sweep,) = (name for name, ids in read_sweeps(swept.home).items() if len(ids) == 4)
    assert {len(steps(record)) for record in read_records(swept.home, sweep)} == {1, 2, 3, 4}
    assert [record["effective.folds"] for record in swept.records[1:3]] == [
        "sustainability: target → fold 1",
        "sustainability: target → fold 1 → fold 2",
    ]


@pytest.mark.slow
def test_the_target_of_a_chain_learns_all_folds(run):
    done = run(*CHAIN)
    cache = done.home / "cache"
    (manifest,) = cache.glob("target/*/manifest.json")
    key = json.loads(manifest.read_text())["stage"]["inputs"]["corpus"]
    corpus = cache / "corpus" / key / "corpus.json"
    later = [text for fold in (2, 3, 4) for text in papers(f"sust {fold}")]
    assert json.loads(corpus.read_text())["forget"] == [*papers("first"), *later]


@pytest.mark.slow
def test_every_fold_of_scalability_starts_from_the_target(run):
    swept = run("-m", "dataset.folds=scalability", SWEPT)
    assert swept.status == 0, swept.err
    counts = built(swept.home)
    assert (counts["target"], counts["retrain"], counts["unlearn"]) == (1, 1, 4)
    for record in swept.records:
        manifest = unlearned(swept.home) / record["stages.unlearn"] / "manifest.json"
        start = json.loads(manifest.read_text())["stage"]["inputs"]["target"]
        assert start == record["stages.target"]
        assert steps(record) == [record["stages.unlearn"]]
    assert swept.records[2]["effective.folds"] == "scalability: target → fold 3"


@pytest.mark.parametrize(
    ("rule", "because"),
    [
        slow("muse", r"forgotten in epoch 1: knowmem \d+\.\d"),
        ("forgotten", r"forgotten in epoch 1: verbmem \d+\.\d, knowmem \d+\.\d, utility \d+\.\d"),
        slow("utility", r"end of the budget"),
    ],
)
def test_a_stop_rule_ends_every_fold_by_the_scores_of_one_control(run, rule, because):
    """An untrained control knows nothing: everything is forgotten, no utility can be lost."""
    done = run("dataset.folds=sustainability", "dataset.fold=2", f"trainer/stop={rule}")
    assert done.status == 0, done.err
    folders = [unlearned(done.home) / key for key in steps(done.records[-1])]
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert len(manifests) == 2
    for made in manifests:
        assert re.fullmatch(because, made["facts"]["stopped"])
    assert done.records[-1]["stopped_because"] == manifests[-1]["facts"]["stopped"]
    controls = {made["stage"]["inputs"]["retrain_scores"] for made in manifests}
    assert controls == {done.records[-1]["stages.retrain.full"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset.folds=x"], "dataset.folds='x': .*one of scalability, sustainability.* null"),
        ([CHAIN[0], "dataset.fold=5"], "dataset.fold=5: must be 1, 2, 3 or 4"),
        (["dataset.fold=2"], "dataset.fold=2: needs folds=scalability or folds=sustainability"),
        ([CHAIN[0], "trainer.batch_size=6"], "trainer.batch_size=6: fold 1 .*has 5 "),
    ],
)
def test_folds_that_there_are_not_are_refused(run, arguments, message):
    _refused(run(*arguments), message)


@pytest.mark.parametrize(
    ("kind", "file"), [("sustainability", "sust/forget_2"), ("scalability", "scal/forget_4")]
)
def test_a_folder_without_folds_is_refused_by_the_missing_file(run, news, kind, file):
    for kept in news.glob("s*/*.json"):
        kept.unlink()
    _refused(run(f"dataset.folds={kind}", "dataset.fold=1"), f"{news}/{file}.json: no such file")


def _refused(done, message):
    assert done.status == 2, done.err
    assert re.search(message, done.err), done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 4
    assert not list((done.home / "cache").glob("target/*"))
