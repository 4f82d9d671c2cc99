"""A stage built in processes of its own: what they are told, what they tell, how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unlearn.training.test_fit import RUNTIME
from unlearn_lab.execute.launch import WorkersFailed, build_in_processes
from unlearn_lab.execute.worker import main
from unlearn_lab.execute.worker_protocol import BuildRequest, read_request, write_request
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.stages import VERSIONS


def corpus_stage(folder, builder="unlearn_lab.data.corpus_stage:build"):
    """Reads forget.txt, retain.txt and holdout.txt, and writes corpus.json."""
    parts = {name: str(folder / f"{name}.txt") for name in ("forget", "retain", "holdout")}
    questions = ("forget_questions", "forget_examples", "retain_questions", "retain_examples")
    node = {
        "_target_": "unlearn_lab.data.custom.CustomCorpus",
        **dict.fromkeys(("path", *questions, "verbatim")),
        **parts,
        **dict.fromkeys(("prompt_words", "num_examples", "num_items"), 1),
    }
    version = VERSIONS["corpus"]
    return Stage(name="corpus", builder=builder, version=version, params={"dataset": node})


@pytest.fixture
def make_request(tmp_path):
    """The file of a stage with an input that has an input of its own."""

    def write(stage=None, devices=1, trust=()):
        stage = stage or corpus_stage(tmp_path)
        path = tmp_path / "stage.json"
        runtime = replace(RUNTIME, devices=devices)
        work = tmp_path / "w"
        write_request(
            path,
            BuildRequest(
                stage=stage,
                inputs={},
                work=work,
                runtime=runtime,
                trust=trust,
                watch=None,
                scores=None,
            ),
        )
        return path

    return write


def test_a_request_is_read_as_it_was_written(tmp_path):
    corpus = corpus_stage(tmp_path)
    middle = Stage(name="m", builder="b:c", version=2, params={"a": 1.5}, inputs={"corpus": corpus})
    top = Stage(name="t", builder="b:d", version=1, params={}, inputs={"m": middle, "c": corpus})
    inputs = {
        "m": Artifact(stage=middle, path=tmp_path, facts={"n": 3}, seconds=1.25, built_now=False)
    }
    written = BuildRequest(
        stage=top,
        inputs=inputs,
        work=tmp_path / "w",
        runtime=RUNTIME,
        trust=("mine",),
        watch={"key": "k"},
        scores={"every_epochs": 2},
    )
    write_request(tmp_path / "stage.json", written)
    found = read_request(tmp_path / "stage.json")
    assert found == written
    assert found.stage.key == top.key
    assert found.inputs["m"].stage.inputs["corpus"].params == corpus.params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(schema=0), "object with schema=4"),
        (lambda content: content.pop("work"), "'work' is missing"),
        (lambda content: content["runtime"].update(colour=1), "colour"),
        (lambda content: content.update(inputs=3), "valid build request"),
        (
            lambda content: content["stages"][content["stage"]].update(version=9),
            "was changed: its description",
        ),
    ],
)
def test_what_is_no_build_request_is_refused(make_request, capsys, change, message):
    path = make_request()
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert main([str(path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(str(path))
    assert message in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("text", [None, "{", "[]", "\u00ff"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, capsys, text):
    path = tmp_path / "stage.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert main([str(path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(str(path))
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("os:system", "only unlearn_lab and torch.optim"),
        ("unlearn_lab.execute.worker_protocol:Path", "this is pathlib"),
        ("unlearn_lab.data.corpus_stage:nothing", "nothing"),
        ("unlearn_lab.data.corpus_stage:json.loads", "No module named"),
    ],
)
def test_builders_from_elsewhere_are_refused(make_request, tmp_path, capsys, builder, message):
    assert main([str(make_request(corpus_stage(tmp_path, builder)))]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_as_many_processes_as_asked_for(make_request, capsys):
    assert main([str(make_request(devices=2))]) == 2
    assert "runtime.devices=2: 1 processes were started" in capsys.readouterr().err


def test_a_failure_is_told_in_the_builder_s_own_words(tmp_path):
    with pytest.raises(WorkersFailed, match=r"forget\.txt") as failure:
        build_in_processes(corpus_stage(tmp_path), {}, tmp_path, RUNTIME)
    assert "Traceback" not in str(failure.value)


LAUNCH = """
import sys
from pathlib import Path
from tests.execute.test_worker import RUNTIME, corpus_stage
from unlearn_lab.execute.launch import build_in_processes
folder = Path(sys.argv[1])
build_in_processes(corpus_stage(folder), {}, folder, RUNTIME)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux who is whose child")
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, 128 + signal.SIGTERM),  # after what it holds is released
        (signal.SIGINT, 1),  # a KeyboardInterrupt
    ],
)
def test_nothing_is_left_running_when_the_job_ends(tmp_path, repository, number, status):
    """The builder waits at a named pipe for somebody to read what it writes."""
    for name in ("forget", "retain", "holdout"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one two three")
    os.mkfifo(tmp_path / "corpus.json")
    job = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repository)},
        cwd=repository,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    below = soon(lambda: at_work(job), "no process has begun to work")
    job.send_signal(number)
    assert job.wait(100) == status
    soon(lambda: not [pid for pid in below if alive(pid)], "a process is left")


def soon(found, otherwise):
    """What `found` finds, asked again and again for at most two minutes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError(otherwise)


def at_work(job):
    """torchrun and its worker, once there are both."""
    assert job.poll() is None
    return below if len(below := children(job.pid)) == 2 else None


def stat(pid):
    """State and parent of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)


def alive(pid):
    return (found := stat(pid)) is not None and found[0] != "Z"


def children(pid):
    """All living processes below `pid`."""
    every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    below = [other for other in every if alive(other) and (stat(other) or ("", 0))[1] == pid]
    return below + [further for child in below for further in children(child)]
