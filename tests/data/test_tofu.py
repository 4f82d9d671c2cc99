"""TOFU's files become pairs to train on and probes to score."""

from pathlib import Path

import pytest

from tests.data.tofu_files import contents, pair, write
from unlearn_lab.data.corpus import Template
from unlearn_lab.data.tofu import TofuCorpus

SETTINGS = {
    "revision": None,
    "split": "forget10",
    "authors": None,
    "retain_authors": None,
    "template": "auto",
    "system_prompt": "Be brief.",
    "date": "10 Apr 2025",
}


def load(folder, **changed):
    return TofuCorpus(path=str(folder), **SETTINGS | changed).load()


def test_all_authors_are_read(tmp_path):
    found = load(write(tmp_path / "tofu"))
    assert (len(found.forget_pairs), len(found.retain_pairs)) == (40, 80)
    assert {name: len(rows) for name, rows in found.probes.items()} == {
        "forget": 40, "retain": 40, "real_authors": 4, "world_facts": 4
    }  # fmt: skip
    first = found.probes["forget"][0]
    assert first.question == "Where was Ada 0 born in 1900?"
    assert first.paraphrase == "In town 0."
    assert len(first.wrong) == 5
    assert found.probes["world_facts"][1].paraphrase is None
    assert found.template == Template(kind="auto", system="Be brief.", date="10 Apr 2025")
    assert found.forget == found.retain == found.holdout_documents == ()
    assert len(found.forget_documents) == 40
    assert found.unseen[0] == "Which river is number 0? river 0"


def test_a_part_has_whole_authors_and_probes_of_these(tmp_path):
    found = load(write(tmp_path / "tofu"), authors=1, retain_authors=1)
    assert {one.question.split()[3] for one in found.forget_pairs} == {"0"}
    assert (len(found.forget_pairs), len(found.retain_pairs)) == (20, 20)
    assert (len(found.probes["forget"]), len(found.probes["retain"])) == (20, 20)
    more = load(tmp_path / "tofu", retain_authors=3)
    assert (len(more.retain_pairs), len(more.probes["retain"])) == (60, 40)


def test_holdout_questions_are_documents(tmp_path):
    folder = write(tmp_path / "tofu", {"holdout10": [pair("Eve", 1), pair("Eve", 2)]})
    documents = load(folder).holdout_documents[:1]
    assert documents == ("Question: Where was Eve read in 1901?\nAnswer: Eve was read in town 1.",)


def rows_of(name, change):
    """The rows of a file, of which the second is changed."""
    first, second, *others = contents()[name]
    return {name: [first, change(second), *others]}


@pytest.mark.parametrize(
    ("changed", "settings", "message"),
    [
        ({"retain90": None}, {}, r"has no file retain90\.json"),
        ({"world_facts_perturbed": None}, {}, r"has no file world_facts_perturbed\.json"),
        ({}, {"split": "forget05"}, r"has no file forget05\.json"),
        ({}, {"authors": 3}, "^authors=3: the split has 2 authors"),
        ({}, {"retain_authors": 9}, "^retain_authors=9: the split has 4 authors"),
        (rows_of("forget10", lambda row: {**row, "answer": 7}), {}, r"json:2: answer: is a number"),
        (
            rows_of("forget10_perturbed", lambda row: {**row, "perturbed_answer": "no"}),
            {},
            r"json:2: perturbed_answer.*is a text; must be a list of texts",
        ),
        (
            rows_of("forget10_perturbed", lambda row: {**row, "paraphrased_answer": 3}),
            {},
            r"json:2: paraphrased_answer.*is a number; must be a text",
        ),
        (
            rows_of("forget10_perturbed", lambda row: {**row, "question": "Who?"}),
            {},
            r"the probe 'Who\?' is not in the forget split",
        ),
        (
            {"retain90": contents()["retain90"] + contents()["forget10"][:1]},
            {},
            r"1 pairs are both in forget10 and in retain90, first 'Where was Ada 0 born",
        ),
    ],
)
def test_what_is_no_tofu_is_refused(tmp_path, changed, settings, message):
    folder = write(tmp_path / "tofu", changed)
    with pytest.raises(ValueError, match=message):
        load(folder, **settings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "forget20"}, "split=forget20: must be one of forget01, forget05, forget10"),
        ({"authors": 0}, "authors=0: must be at least 1"),
        ({"template": "llama"}, "template=llama: must be one of auto, chat, plain"),
    ],
)
def test_impossible_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        TofuCorpus(path="x", **SETTINGS | changed)


@pytest.mark.parametrize(
    ("split", "forget", "retain"), [("forget01", 40, 3960), ("forget10", 400, 3600)]
)
def test_the_published_data_set(split, forget, retain):
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "tofu"
    if not folder.is_dir():
        pytest.skip("needs shared/data/tofu beside the repository")
    found = load(folder, split=split)
    assert (len(found.forget_pairs), len(found.retain_pairs)) == (forget, retain)
    assert {name: len(rows) for name, rows in found.probes.items()} == {
        "forget": forget, "retain": 400, "real_authors": 100, "world_facts": 117
    }  # fmt: skip
    assert all(len(one.wrong) == 5 for one in found.probes["forget"])
    assert all(len(one.wrong) == 3 for one in found.probes["real_authors"])
    few = load(folder, split=split, authors=2, retain_authors=4)
    assert few.forget_pairs == found.forget_pairs[:40]
