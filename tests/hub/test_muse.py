"""MUSE's corpora read from a hub: every part as served, folds, pins, and what is missing."""

import shutil

import pytest

from tests.hub.loading import read_muse
from tests.hub.muse import rows, write_card, write_muse
from unlearn_lab.data.corpus import Question, VerbatimPrompt

NAME = "muse-bench/MUSE-News"


def asked(revision, **changes):
    """What is asked of `MuseCorpus`."""
    fields = {"path": NAME, "retain": "retain1", "folds": None, "fold": None}
    return {**fields, "revision": revision, **changes}


def texts(edition, configuration, *splits) -> tuple[str, ...]:
    return tuple(row["text"] for split in splits for row in rows(edition, configuration, split))


def questions(edition, split) -> tuple[Question, ...]:
    return tuple(Question(**row) for row in rows(edition, "knowmem", split))


@pytest.fixture(scope="module")
def commits(hub, tmp_path_factory):
    """Two editions; `main` is at the second."""
    repository = hub.repository("datasets", NAME)
    return tuple(
        repository.commit(write_muse(tmp_path_factory.mktemp(edition), edition), "main")
        for edition in ("first", "second")
    )


@pytest.fixture(scope="module")
def corpora(online, commits):
    """Both editions, as read with network; the second was read last."""
    return [online(read_muse, **asked(commit)) for commit in commits]


@pytest.mark.parametrize(("place", "edition"), [(0, "first"), (1, "second")])
def test_every_part_is_as_served(corpora, place, edition):
    found = corpora[place]
    assert found.forget == texts(edition, "raw", "forget")
    assert found.retain == texts(edition, "raw", "retain1")
    assert found.forget_documents == texts(edition, "privleak", "forget")
    assert found.holdout_documents == texts(edition, "privleak", "holdout")
    assert found.forget_questions == questions(edition, "forget_qa")
    assert found.forget_examples == questions(edition, "forget_qa_icl")
    assert found.retain_questions == questions(edition, "retain_qa")
    assert found.retain_examples == questions(edition, "retain_qa_icl")
    assert found.verbatim == tuple(
        VerbatimPrompt(row["prompt"], row["gt"]) for row in rows(edition, "verbmem", "forget")
    )


def test_a_branch_is_read_where_it_is(online, corpora):
    assert online(read_muse, **asked("main")) == corpora[1]


@pytest.mark.parametrize("place", [0, 1])
def test_a_pin_needs_no_hub_and_reads_its_own_edition(corpora, commits, offline, place):
    assert offline(read_muse, **asked(commits[place])) == corpora[place]


@pytest.mark.parametrize(
    ("folds", "fold", "configuration", "splits"),
    [
        ("scalability", None, "scal", ["forget_4"]),
        ("scalability", 2, "scal", ["forget_2"]),
        ("sustainability", None, "sust", ["forget_1", "forget_2", "forget_3", "forget_4"]),
        ("sustainability", 3, "sust", ["forget_3"]),
    ],
)
def test_folds_are_read_from_their_configuration(
    online, offline, commits, folds, fold, configuration, splits
):
    fields = asked(commits[0], retain="retain2", folds=folds, fold=fold)
    found = online(read_muse, **fields)
    assert found.forget == texts("first", configuration, *splits)
    assert found.retain == texts("first", "raw", "retain2")
    assert offline(read_muse, **fields) == found


def test_a_missing_configuration_is_told_with_those_there_are(online, hub, tmp_path):
    folder = write_muse(tmp_path / "data", "partial")
    shutil.rmtree(folder / "verbmem")
    write_card(folder, ("knowmem", "privleak", "raw"))
    commit = hub.repository("datasets", "maker/partial").commit(folder, "main")
    with pytest.raises(ValueError, match=r"^path=maker/partial: cannot be loaded") as refusal:
        online(read_muse, **asked(commit, path="maker/partial"))
    assert "'verbmem' not found. Available: ['knowmem', 'privleak', 'raw']" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_not_cached_is_told_with_what_to_do(offline):
    with pytest.raises(ValueError, match=r"^path=maker/unseen: cannot be loaded") as refusal:
        offline(read_muse, **asked("c" * 40, path="maker/unseen"))
    assert "hf download --repo-type dataset" in str(refusal.value)
    assert "\n" not in str(refusal.value)
