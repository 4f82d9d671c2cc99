"""Whole runs on a hostile corpus, by somebody with secrets: what is written, and what is shown."""

import re
import stat
from html.parser import HTMLParser

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.security import hostile
from unlearn_lab.record.results import read_records

SETTINGS = [
    *(s for s in SMALL if not s.startswith(("dataset.", "report."))),
    *SMALL_MODEL,
    "dataset=custom",
    "dataset.num_examples=1",
    "dataset.prompt_words=4",
    "report.wandb.mode=offline",
]
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


SWEEP = "<b>'\"&"


class Ran:
    """A folder in which the command ran, and its status."""

    def __init__(self, folder, status):
        self.folder, self.home, self.status = folder, folder / "lab", status
        self.out, self.err = ((folder / name).read_text() for name in ("out", "err"))

    def files(self):
        return [path for path in self.home.rglob("*") if not path.is_symlink()]


@pytest.fixture(scope="module")
def run(forkserver, tmp_path_factory):
    """Runs the command in a folder of its own."""

    def start(umask, *arguments):
        folder = tmp_path_factory.mktemp("<i>run")
        texts = hostile.corpus(folder / "te'x\"ts <b onload=x>")
        where = [f"runtime.home={quoted(folder / 'lab')}", f"dataset.path={quoted(texts)}"]
        variables = hostile.surroundings(folder)
        flags = [argument for argument in arguments if argument.startswith("-")]
        overrides = [argument for argument in arguments if argument not in flags]
        given = ([*flags, *SETTINGS, *where, *overrides], folder, variables)
        process = forkserver.Process(target=hostile.run, args=(umask, *given))
        process.start()
        process.join()
        return Ran(folder, process.exitcode)

    return start


def quoted(value):
    """A value as Hydra's grammar wants it."""
    return '"{}"'.format(str(value).replace('"', r"\""))


@pytest.fixture(scope="module")
def shared(run):
    """Of a group whose members may all write."""
    sweep = f"report.sweep={quoted(SWEEP)}"
    done = run(0o002, "-m", "method=ga", "quant=rtn4,rtn8", sweep, "hydra.verbose=true")
    assert done.status == 0, done.err
    return done


@pytest.fixture(scope="module")
def private(run):
    """Of somebody who lets nobody look; the unlearning fails."""
    done = run(0o077, "quant=rtn4", "optimizer.lr=1e30", "hydra.verbose=true")
    assert done.status == 1, done.err
    return done


def test_no_secret_is_kept_or_shown(shared, private):
    secrets = [secret.encode() for secret in (*hostile.SECRETS.values(), *hostile.KEPT.values())]
    for done in (shared, private):
        kept = [path for path in done.files() if path.is_file()]
        assert len(kept) > 20
        for path in (*kept, done.folder / "out", done.folder / "err"):
            content = path.read_bytes()
            assert [secret for secret in secrets if secret in content] == [], path
    assert list(shared.home.glob("wandb/offline-run-*/*.wandb"))
    assert list(shared.home.glob("hydra/*/0/.hydra/config.yaml"))


def test_the_client_of_wandb_sends_nothing_while_offline(shared):
    assert "Starting new HTTP" not in shared.err


def test_files_are_as_the_umask_says(shared, private):
    for path in shared.files():
        mode = path.stat().st_mode
        if "wandb" not in path.parts:  # its own temporary folders
            assert mode & stat.S_IWGRP, (path, oct(mode))
        assert mode & stat.S_IRGRP or path.name == "tmp", (path, oct(mode))
    for path in private.files():
        assert path.stat().st_mode & 0o077 == 0, path


def test_nothing_is_left_over(shared, private):
    for done in (shared, private):
        left = re.compile(r"\.work|\.claim|\.dead|^tmp\w{8}$")
        assert not [path for path in done.files() if left.search(path.name)]
        assert {path.name for path in done.home.iterdir()} <= {"cache", "hydra", "results", "wandb"}


class Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.attributes, self.text = set(), set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= set(attrs)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(shared):
    return Page((shared.home / "results" / "report.html").read_text())


def test_what_a_corpus_says_is_text_on_the_page_and_nothing_else(page):
    ours = {"html", "head", "meta", "title", "style", "body", "svg", "table", "details"}
    assert ours <= page.elements
    never = {"script", "img", "iframe", "object", "embed", "a", "link", "form", "base", "b", "i"}
    assert not page.elements & never
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = {value for name, value in page.attributes if name.endswith(("href", "src"))}
    assert all(link.startswith(("#", "data:image/png")) for link in links), links
    shown = "".join(page.text)
    for attack in ("<script>alert(1)</script>", "{{ 7*7 }}", "javascript:alert(4)", "<svg/onload"):
        assert attack in shown, attack
    assert SWEEP in shown
    assert not STEERING.search(shown)
    assert r"\u202e" in shown
    assert r"\x1b[31m" in shown


def test_the_page_may_load_and_run_nothing(page):
    (policy,) = [
        value for name, value in page.attributes if name == "content" and "default-src" in value
    ]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "script-src" not in policy


def test_no_text_steers_the_terminal(shared, private):
    for done in (shared, private):
        assert not STEERING.search(done.out + done.err)


def test_records_keep_the_texts_files_below_the_home(shared):
    for record in read_records(shared.home):
        assert (shared.home / record["layers"]).is_file()
        assert record["sweep"] == SWEEP


REFUSED = [
    (["model=hf", "model.path=https://joe:very-secret@example.com/m"], "model.path=***"),
    (["model=hf", "model.path=https://very-secret@example.com/m"], "model.path=***"),
    (["+x=hf_very0secret0very0secret0very0sec"], "+x=***"),
    (["hydra.job.env_set.WANDB_API_KEY=very-secret"], "hydra.job.env_set.WANDB_API_KEY=***"),
    (["+hydra.job.env_set={HF_TOKEN:very-secret}"], "hydra.job.env_set=***"),
    (["hydra.job.env_copy=[HF_TOKEN]"], "hydra.job.env_copy=***"),
    (["report.wandb.entity=${oc.env:DATABASE_PASSWORD}"], "report.wandb.entity=***"),
    (["report.sweep=../../../very-far"], "report.sweep='../../../very-far': must be a name"),
    (["-m", "report.sweep=.."], "report.sweep='..': must be a name"),
    (["report.sweep=/very/far"], "report.sweep='/very/far': must be a name"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_secret_on_the_command_line_and_a_way_out_are_refused(run, arguments, message):
    done = run(0o022, *arguments)
    assert done.status == 2, done.err
    assert message in done.err
    assert "very-secret" not in done.err + done.out
    assert len(done.err.strip().splitlines()) <= 3
    hidden = b"very-secret", hostile.SECRETS["DATABASE_PASSWORD"].encode()
    for path in done.folder.rglob("*"):
        if path.is_file() and path.is_relative_to(done.home):
            assert not any(secret in path.read_bytes() for secret in hidden), path
    assert not list(done.folder.parent.glob("very-far"))
