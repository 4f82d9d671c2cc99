"""Which corpora a job reads, and how folds become steps."""

import pytest

from tests.test_plan import names, plain_config, stages
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan import plan
from unlearn_lab.plan_corpus import chain, corpora, fold_of
from unlearn_lab.plan_quantize import NO_QUANTIZER


@pytest.fixture
def content(tmp_path):
    return ContentKey(tmp_path / "digests")


@pytest.fixture
def muse(tmp_path):
    """The node of a local folder, whose content is not read."""
    folder = tmp_path / "news"
    (folder / "raw").mkdir(parents=True)
    (folder / "raw" / "a.json").write_text("[]")

    def node(folds=None, fold=None):
        return {
            "_target_": "unlearn_lab.data.muse.MuseCorpus",
            "path": str(folder),
            "revision": None,
            "retain": "retain1",
            "folds": folds,
            "fold": fold,
        }

    return node


def folds(steps):
    return [stage.params["dataset"]["fold"] for stage in steps]


def test_without_folds_what_is_unlearned_is_the_whole(muse, content):
    read = corpora(muse(), content)
    assert read.steps == (read.whole,)
    assert len(read.whole.params["content"]["path"]) == 64


def test_a_changed_file_is_another_corpus(muse, content, tmp_path):
    before = corpora(muse(), content).whole.key
    (tmp_path / "news" / "raw" / "a.json").write_text("[ ]")
    assert corpora(muse(), content).whole.key != before


def test_results_in_the_folder_of_the_texts_make_no_other_corpus(muse, content, tmp_path):
    """Whoever works in that folder has `lab`, the default home, there."""
    own = {"_target_": "unlearn_lab.data.custom.CustomCorpus", "path": str(tmp_path / "own")}
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "forget.json").write_text("[]")
    before = [corpora(node, content).whole.key for node in (muse(), own)]
    for name in ("news", "own"):
        (tmp_path / name / "lab" / "cache").mkdir(parents=True)
        (tmp_path / name / "lab" / "cache" / "digests.json").write_text("{}")
    assert [corpora(node, content).whole.key for node in (muse(), own)] == before
    (tmp_path / "own" / "forget.json").write_text("[ ]")
    assert corpora(own, content).whole.key != before[1]


def test_a_data_set_that_is_nowhere_is_named_by_its_own_setting(muse, content):
    """And not by that of calibration texts, with advice on those."""
    with pytest.raises(ValueError, match=r"^dataset\.path=no/such/folder: .*MUSE's layout"):
        corpora({**muse(), "path": "no/such/folder"}, content)


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
def test_steps(muse, content, kind, fold, wanted):
    read = corpora(muse(kind, fold), content)
    assert folds(read.steps) == wanted
    assert read.whole.params["dataset"]["fold"] is None
    assert read.whole.key == corpora(muse(kind, 2), content).whole.key


def leaf(muse, content, kind, fold):
    config = plain_config(NO_QUANTIZER) | {"dataset": muse(kind, fold)}
    return plan(config, content)


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


def test_a_users_files_enter_the_key_by_content(content, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("1")
    node = {"_target_": "unlearn_lab.data.custom.CustomCorpus", "path": None, "forget": str(file)}
    before = corpora(node | {"prompt_words": 3}, content).whole
    assert before.params["dataset"]["forget"] == str(file)
    file.write_text("2")
    assert corpora(node | {"prompt_words": 3}, content).whole.key != before.key
    with pytest.raises(ValueError, match=r"^dataset\.forget=nowhere: no such file or folder"):
        corpora(node | {"forget": "nowhere"}, content)
