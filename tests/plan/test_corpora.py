"""Which corpora a job reads, and how folds become steps."""

from pathlib import Path

import pytest

from tests.plan.test_job_graph import MUSE, NONE, names, plain_config, stages
from unlearn_lab.config.build import assemble
from unlearn_lab.data.corpus import CorpusSource
from unlearn_lab.data.custom import NEEDED, PARTS
from unlearn_lab.execute.parts import build_parts
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan.corpora import chain, corpora, fold_of
from unlearn_lab.plan.job_graph import plan
from unlearn_lab.plan.pinned import pin


def own_corpus(**places):
    """The node of a user's own corpus; `places` are its folder (`path`) or single files."""
    numbers = {"prompt_words": 3, "num_examples": 1, "num_items": 10}
    unset = dict.fromkeys(("path", *PARTS))
    return {"_target_": "unlearn_lab.data.custom.CustomCorpus", **unset, **numbers, **places}


@pytest.fixture
def content(tmp_path):
    return ContentKey(tmp_path / "digests")


@pytest.fixture
def read(content):
    """The corpora of a data set, by its node."""
    return lambda node: corpora(pin(assemble(node, CorpusSource, "dataset"), content))


@pytest.fixture
def muse(tmp_path):
    """The node of a local folder, whose content is not read."""
    folder = tmp_path / "news"
    (folder / "raw").mkdir(parents=True)
    (folder / "raw" / "a.json").write_text("[]")

    return lambda folds=None, fold=None: {
        **MUSE,
        "path": str(folder),
        "folds": folds,
        "fold": fold,
    }


def folds(steps):
    return [stage.params["dataset"]["fold"] for stage in steps]


def test_without_folds_what_is_unlearned_is_the_whole(muse, read):
    found = read(muse())
    assert found.steps == (found.whole,)
    digests = found.whole.depends["files"]
    assert {name: len(digest) for name, digest in digests.items()} == {"dataset.path": 64}


def test_a_changed_file_is_another_corpus(muse, read, tmp_path):
    before = read(muse()).whole.key
    (tmp_path / "news" / "raw" / "a.json").write_text("[ ]")
    assert read(muse()).whole.key != before


def test_results_in_the_folder_of_the_texts_make_no_other_corpus(muse, read, tmp_path):
    """Whoever works in that folder has `lab`, the default home, there."""
    own = own_corpus(path=str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "forget.json").write_text("[]")
    before = [read(node).whole.key for node in (muse(), own)]
    for name in ("news", "own"):
        (tmp_path / name / "lab" / "cache").mkdir(parents=True)
        (tmp_path / name / "lab" / "cache" / "digests.json").write_text("{}")
    assert [read(node).whole.key for node in (muse(), own)] == before
    (tmp_path / "own" / "forget.json").write_text("[ ]")
    assert read(own).whole.key != before[1]


def test_a_data_set_that_is_nowhere_is_named_by_its_own_setting(muse, read):
    """And not by that of calibration texts, with advice on those."""
    with pytest.raises(ValueError, match=r"^dataset\.path=no/such/folder: .*the same files"):
        read({**muse(), "path": "no/such/folder"})


@pytest.mark.parametrize(
    ("kind", "fold", "wanted"),
    [
        ("scalability", 1, [1]),
        ("scalability", 3, [3]),
        ("scalability", None, [4]),
        ("sustainability", 1, [1]),
        ("sustainability", 3, [1, 2, 3]),
        ("sustainability", None, [1, 2, 3, 4]),
    ],
)
def test_steps(muse, read, kind, fold, wanted):
    found = read(muse(kind, fold))
    assert folds(found.steps) == wanted
    assert found.whole.params["dataset"]["fold"] is None
    assert found.whole.key == read(muse(kind, 2)).whole.key


def leaf(muse, content, kind, fold):
    config = plain_config(NONE) | {"dataset": muse(kind, fold)}
    return plan(build_parts(config), config, content)


def test_sustainability_is_a_chain_whose_beginning_is_shared(muse, content):
    last = leaf(muse, content, "sustainability", 4)
    steps = chain(last.unlearn)
    assert steps[0].inputs["target"].name == "target"
    assert [fold_of(step) for step in steps] == [1, 2, 3, 4]
    assert [fold_of(step.inputs["corpus"]) for step in steps] == [1, 2, 3, 4]
    assert fold_of(last.corpora.whole) is None
    for fold, step in enumerate(steps, start=1):
        assert leaf(muse, content, "sustainability", fold).unlearn.key == step.key
    assert names(last).count("unlearn") == 4


def test_scalability_starts_from_the_target_every_time(muse, content):
    leaves = [leaf(muse, content, "scalability", fold) for fold in (1, 2, 3, 4)]
    assert len({made.unlearn.key for made in leaves}) == 4
    assert {made.unlearn.inputs["target"].name for made in leaves} == {"target"}


@pytest.mark.parametrize("kind", ["scalability", "sustainability"])
def test_the_folds_of_a_sweep_share_target_control_and_their_scores(muse, content, kind):
    leaves = [leaf(muse, content, kind, fold) for fold in (1, 2, 3, 4)]
    every = {key: stage for made in leaves for key, stage in stages(made).items()}
    counts = [stage.name for stage in every.values()]
    assert (counts.count("target"), counts.count("retrain")) == (1, 1)
    assert counts.count("unlearn") == 4
    assert counts.count("evaluate") == 4 + 2


def test_a_users_files_enter_the_key_by_content(read, tmp_path):
    places = {name: str(tmp_path / f"{name}.jsonl") for name in NEEDED}
    for place in places.values():
        Path(place).write_text("1")
    before = read(own_corpus(**places)).whole
    assert before.params["dataset"]["forget"] == places["forget"]
    assert set(before.depends["files"]) == {f"dataset.{name}" for name in NEEDED}
    for name in NEEDED:
        known = read(own_corpus(**places)).whole.key
        Path(places[name]).write_text(f"changed {name}")
        assert read(own_corpus(**places)).whole.key != known
    with pytest.raises(ValueError, match=r"^dataset\.forget=nowhere: no such file\b"):
        read(own_corpus(**places | {"forget": "nowhere"}))
