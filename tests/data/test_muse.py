"""Corpora in MUSE's layout: what is read from where, folds, and what is refused."""

import json

import datasets
import pytest
from datasets import Dataset

from tests.data.corpora import MUSE, muse, muse_folder, texts, write
from unlearn_lab.data.corpus import CorpusSource, Question, VerbatimPrompt


@pytest.fixture
def folder(tmp_path):
    return muse_folder(tmp_path / "muse")


@pytest.fixture
def folds(folder):
    for number in (2, 3, 4):
        write(folder / f"scal/forget_{number}.json", [f"scal {n}" for n in range(number)])
        write(folder / f"sust/forget_{number}.json", [f"sust {number}"])
    return folder


def test_each_role_has_its_file(folder):
    assert isinstance(muse(folder), CorpusSource)
    corpus = muse(folder).load()
    assert list(corpus.forget) == texts("forget")
    assert list(corpus.retain) == texts("retain")
    assert corpus.verbatim[2] == VerbatimPrompt("It began 2 times", "and ended 2 times.")
    assert corpus.forget_questions[1] == Question("Which forget is it, 1?", "no 1")
    assert corpus.retain_questions[1] == Question("Which retain is it, 1?", "no 1")
    assert corpus.forget_examples[0].question == "Which shown forget is it, 0?"
    assert corpus.retain_examples[0].question == "Which shown retain is it, 0?"
    assert list(corpus.forget_documents) == texts("scored")
    assert list(corpus.holdout_documents) == texts("holdout")


def test_the_retain_split_is_chosen_by_name(folder):
    write(folder / "raw/retain2.json", ["another"])
    assert muse(folder, retain="retain2").load().retain == ("another",)


def test_the_raw_texts_may_be_one_text_file(folder):
    (folder / "raw/forget.json").unlink()
    (folder / "raw/forget.txt").write_text("One.\n\nTwo.\n")
    assert muse(folder).load().forget == ("One.\n\nTwo.\n",)


def test_a_copy_of_the_hub_repository_is_read(folder):
    (folder / "raw/forget.json").unlink()
    Dataset.from_dict({"text": ["a", "b"]}).to_parquet(folder / "raw/forget-00000-of-00001.parquet")
    assert muse(folder).load().forget == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "fold", "expected"),
    [
        ("scalability", 1, texts("forget")),
        ("scalability", 3, ["scal 0", "scal 1", "scal 2"]),
        ("scalability", None, ["scal 0", "scal 1", "scal 2", "scal 3"]),
        ("sustainability", 1, texts("forget")),
        ("sustainability", 3, ["sust 3"]),
        ("sustainability", None, [*texts("forget"), "sust 2", "sust 3", "sust 4"]),
    ],
)
def test_folds(folds, kind, fold, expected):
    corpus = muse(folds, folds=kind, fold=fold).load()
    assert list(corpus.forget) == expected
    assert list(corpus.retain) == texts("retain")
    assert list(corpus.forget_documents) == texts("scored")


def test_a_first_fold_of_its_own_is_preferred(folds):
    write(folds / "scal/forget_1.json", ["first"])
    assert muse(folds, folds="scalability", fold=1).load().forget == ("first",)


def test_only_what_is_needed_is_read(folds):
    (folds / "raw/forget.json").write_text("broken")
    assert len(muse(folds, folds="scalability", fold=2).load().forget) == 2
    (folds / "scal/forget_2.json").write_text("broken")
    assert muse(folds, folds="sustainability", fold=2).load().forget == ("sust 2",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": "scalability", "fold": 5}, "fold=5: must be 1, 2, 3 or 4"),
        ({"folds": "sustainability", "fold": 0}, "fold=0: must be 1, 2, 3 or 4"),
        ({"fold": 5}, "fold=5: must be 1, 2, 3 or 4"),
        ({"fold": 2}, "fold=2: needs folds=scalability or folds=sustainability"),
    ],
)
def test_folds_that_muse_has_not_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        muse("anywhere", **settings)


def test_every_part_is_required(folder):
    for name in MUSE:
        kept = (folder / f"{name}.json").rename(folder / "kept")
        with pytest.raises(ValueError, match=f"^{folder}/{name}.json: no such file$"):
            muse(folder).load()
        kept.rename(folder / f"{name}.json")


def test_a_folder_of_another_layout_is_sent_to_custom(tmp_path):
    with pytest.raises(ValueError, match=r"use dataset=custom dataset\.path=") as refused:
        muse(tmp_path).load()
    assert str(refused.value).startswith(f"path={tmp_path}: has no folder raw")


def test_a_hub_name_that_cannot_be_had_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"hf download --repo-type dataset") as refused:
        muse("someone/no-such-set").load()
    assert str(refused.value).startswith("path=someone/no-such-set: cannot be loaded (")
    assert "\n" not in str(refused.value)


def test_without_network_what_was_downloaded_is_read(tmp_path, monkeypatch):
    """As `hf download --repo-type dataset` leaves it: parquet and a card that lists them."""
    root, commit = tmp_path / "hub/datasets--someone--news", "c" * 40
    snapshot = root / "snapshots" / commit
    listed = []
    for name, values in MUSE.items():
        config, split = name.split("/")
        rows = [value if isinstance(value, dict) else {"text": value} for value in values]
        (snapshot / config).mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(snapshot / f"{name}-00000-of-00001.parquet")
        listed.append((config, {"split": split, "path": f"{name}-*"}))
    configs = [
        {"config_name": config, "data_files": [file for of, file in listed if of == config]}
        for config in dict(listed)
    ]
    (snapshot / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    (root / "refs").mkdir()
    (root / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")
    expected = muse(muse_folder(tmp_path / "muse")).load()
    assert muse("someone/news").load() == expected
    assert muse("someone/news", revision=commit).load() == expected
    with pytest.raises(ValueError, match=r"^path=someone/news: cannot be loaded \(.*scal"):
        muse("someone/news", folds="scalability", fold=2).load()


def test_few_articles_in_two_published_splits_are_kept_many_refused(folder):
    write(folder / "raw/retain1.json", [*texts("retain", 24), texts("forget")[3]])
    assert len(muse(folder).load().retain) == 25
    write(folder / "raw/retain1.json", texts("forget"))
    with pytest.raises(ValueError, match=r"retain1\.json:2: \[0\]: .*same text.* and 20 more"):
        muse(folder).load()


def test_the_published_news(repository):
    path = repository.parent / "shared/data/muse_news"
    if not path.is_dir():
        pytest.skip("needs the articles of MUSE-News, which are not part of this project")
    counts = {
        role: len(items)
        for role, items in vars(muse(path).load()).items()
        if items and type(items) is tuple
    }
    assert counts == {
        "forget": 889,
        "retain": 100,
        "verbatim": 100,
        "forget_questions": 100,
        "forget_examples": 10,
        "retain_questions": 100,
        "retain_examples": 10,
        "forget_documents": 100,
        "holdout_documents": 100,
    }
