"""Data sets of a hub in its own layout, read by the real `load_dataset`: configurations, pins."""

import re

import pytest

from tests.hub.loading import download, log_in, pin_dataset, read_texts
from tests.hub.muse import PARTS, rows, write_muse, write_split

NAME = "muse-bench/MUSE-News"


def texts(edition, configuration="raw", split="forget", column="text") -> tuple[str, ...]:
    return tuple(row[column] for row in rows(edition, configuration, split))


def asked(revision, **changes):
    """What is asked of `HubTexts`."""
    fields = {"path": NAME, "name": "raw", "split": "forget", "column": "text", "num_rows": None}
    return {**fields, "revision": revision, **changes}


@pytest.fixture(scope="module")
def commits(hub, tmp_path_factory):
    """Two editions; `main` is at the second, `v1` at the first."""
    repository = hub.repository("datasets", NAME)
    return tuple(
        repository.commit(write_muse(tmp_path_factory.mktemp(edition), edition), name)
        for edition, name in (("first", "v1"), ("second", "main"))
    )


@pytest.fixture(scope="module")
def cached(online, commits):
    """What a process with network has read of `raw`, the first edition first."""
    return [online(read_texts, **asked(commit)) for commit in commits]


def refused(run, function, *arguments, **named) -> str:
    """The one line that a user reads."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal:
        run(function, *arguments, **named)
    return str(refusal.value)


@pytest.mark.parametrize(("revision", "place"), [(None, 1), ("main", 1), ("v1", 0)])
def test_a_branch_and_a_tag_become_the_commits_they_are_at(online, commits, revision, place):
    found = online(pin_dataset, NAME, revision)
    assert (found.path, found.revision, found.digest) == (NAME, commits[place], None)


def test_each_pin_reads_the_edition_that_was_served(cached):
    assert cached == [texts("first"), texts("second")]


@pytest.mark.parametrize("configuration", PARTS)
def test_every_configuration_and_split_is_read(online, commits, configuration):
    columns, splits = PARTS[configuration]
    for split, column in ((split, column) for split in splits for column in columns):
        fields = asked(commits[0], name=configuration, split=split, column=column, num_rows=2)
        assert online(read_texts, **fields) == texts("first", configuration, split, column)[:2]


@pytest.mark.parametrize("where", ["online", "offline", "stranded"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_pin_reads_its_own_edition_again_without_the_hub(
    cached, commits, hub, request, where, place
):
    """Left alone, `datasets` would take the edition that was read last."""
    hub.requests()
    assert request.getfixturevalue(where)(read_texts, **asked(commits[place])) == cached[place]
    assert hub.requests() == []


def test_an_edition_that_is_not_cached_is_not_replaced_by_another(online, offline, hub, tmp_path):
    repository = hub.repository("datasets", "maker/editions")
    old = repository.commit(write_muse(tmp_path / "old", "old"), "main")
    new = repository.commit(write_muse(tmp_path / "new", "new"), "main")
    fields = {"path": "maker/editions"}
    assert online(read_texts, **asked(new, **fields)) == texts("new")
    message = refused(offline, read_texts, **asked(old, **fields))
    assert message.startswith("generic_text.path=maker/editions: cannot be loaded (the hub")
    assert re.search(rf"not reachable.* raw of commit {old} .*local cache", message)
    online(download, "maker/editions", old)
    assert offline(read_texts, **asked(old, **fields)) == texts("old")


def test_what_was_downloaded_is_read_without_the_hub(online, offline, hub, tmp_path):
    """`hf download` leaves files that `datasets` has never seen."""
    repository = hub.repository("datasets", "maker/fetched")
    commit = repository.commit(write_muse(tmp_path / "data", "fetched"), "main")
    online(download, "maker/fetched", commit)
    fields = asked(commit, path="maker/fetched", name="verbmem", column="gt")
    assert offline(read_texts, **fields) == texts("fetched", "verbmem", "forget", "gt")


def test_a_data_set_of_one_configuration_needs_no_name(online, offline, hub, tmp_path):
    write_split(tmp_path / "data", "train", [{"text": f"line {n}"} for n in range(3)])
    commit = hub.repository("datasets", "maker/plain").commit(tmp_path, "main")
    fields = asked(commit, path="maker/plain", name=None, split="train")
    assert online(read_texts, **fields) == ("line 0", "line 1", "line 2")
    assert offline(read_texts, **fields) == ("line 0", "line 1", "line 2")


def test_an_unknown_configuration_is_told_with_those_there_are(online, commits):
    message = refused(online, read_texts, **asked(commits[0], name="rawr"))
    assert message.startswith(f"generic_text.path={NAME}: cannot be loaded (")
    assert f"'rawr' not found. Available: {list(PARTS)}" in message


def test_an_unknown_split_is_told_with_those_there_are(online, cached, commits):
    message = refused(online, read_texts, **asked(commits[0], split="retain"))
    assert "['forget', 'holdout', 'retain1', 'retain2']" in message


def test_what_is_not_cached_is_named_with_what_to_do(offline):
    message = refused(offline, pin_dataset, "maker/unseen", None)
    reasons = r"not a folder, .*not reachable.* local cache\b"
    hints = r"parquet, JSONL .*hf download --repo-type dataset maker/unseen; .*"
    assert re.fullmatch(
        rf"generic_text\.path=maker/unseen: {reasons}.*{hints} quant/calibration=retain", message
    )
    message = refused(offline, read_texts, **asked("c" * 40, path="maker/unseen"))
    assert message.startswith("generic_text.path=maker/unseen: cannot be loaded")


def test_a_gated_data_set_is_named_with_how_to_get_in(online, hub, tmp_path):
    repository = hub.repository("datasets", "maker/gated")
    commit = repository.commit(write_muse(tmp_path, "gated"), "main")
    repository.close("hf_secret", 403)
    fields = asked(commit, path="maker/gated")
    message = refused(online, read_texts, **fields)
    assert message.startswith("generic_text.path=maker/gated: is gated")
    address = "https://huggingface.co/datasets/maker/gated,"
    assert all(part in message for part in (address, "`hf auth login`", "HF_TOKEN"))
    online(log_in, "hf_secret")
    assert online(read_texts, **fields) == texts("gated")
    online(log_in, None)


def test_a_data_set_that_does_not_exist_is_told(online):
    message = refused(online, pin_dataset, "maker/nothing", None)
    assert re.match(r"generic_text\.path=maker/nothing: neither .*folder nor .*data set", message)
    assert all(part in message for part in ("private", "`hf auth login`", "HF_TOKEN"))
