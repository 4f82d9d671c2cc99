"""A user's own corpus: which files are read, what is made of them, what is refused."""

import json
import re

import pytest
from datasets import Dataset

from tests.data.corpora import custom, muse_folder, own_folder, prompts, questions, texts, write
from unlearn_lab.data.corpus import CorpusSource, Question, VerbatimPrompt
from unlearn_lab.data.custom import PARTS
from unlearn_lab.data.parts import parse
from unlearn_lab.data.rows import SUFFIXES, read_rows


def refusal(source):
    with pytest.raises(ValueError, match=":") as refused:
        source.load()
    return str(refused.value)


def test_a_folder_of_texts_is_enough(tmp_path):
    source = custom(own_folder(tmp_path))
    assert isinstance(source, CorpusSource)
    corpus = source.load()
    assert list(corpus.forget) == texts("forget")
    assert list(corpus.retain) == texts("retain")
    assert list(corpus.forget_documents) == texts("forget")[:20]
    assert list(corpus.holdout_documents) == texts("holdout")[:20]
    assert len(corpus.verbatim) == 20
    assert not corpus.forget_questions + corpus.forget_examples
    assert not corpus.retain_questions + corpus.retain_examples


def test_prompts_are_the_beginnings_of_long_enough_texts_with_their_white_space(tmp_path):
    forget = [" one  two\nthree\tfour ", "one two three", "one two three ", "1 2 3 4 5"]
    corpus = custom(own_folder(tmp_path, forget=forget), prompt_words=3).load()
    assert corpus.verbatim == (
        VerbatimPrompt(" one  two\nthree", "\tfour "),
        VerbatimPrompt("1 2 3", " 4 5"),
    )


def test_given_prompts_are_used_instead(tmp_path):
    corpus = custom(own_folder(tmp_path, verbatim=prompts(3)), prompt_words=99).load()
    assert [item.prompt for item in corpus.verbatim] == [row["prompt"] for row in prompts(3)]


def test_the_first_questions_are_shown_and_not_asked(tmp_path):
    asked = questions("forget", 5)
    corpus = custom(own_folder(tmp_path, forget_questions=asked), num_examples=2).load()
    assert corpus.forget_examples == tuple(Question(**row) for row in asked[:2])
    assert corpus.forget_questions == tuple(Question(**row) for row in asked[2:])


def test_given_examples_are_shown_and_all_questions_asked(tmp_path):
    shown = questions("shown", 4)
    folder = own_folder(tmp_path, retain_questions=questions("retain"), retain_examples=shown)
    corpus = custom(folder).load()
    assert (len(corpus.retain_questions), len(corpus.retain_examples)) == (25, 4)


def test_files_of_every_kind_read_alike(tmp_path):
    rows = [{"text": text} for text in texts("retain")]
    folder = own_folder(tmp_path)
    expected = custom(folder).load()
    (folder / "forget.json").unlink()
    (folder / "forget.jsonl").write_text("\n".join(map(json.dumps, texts("forget"))))
    (folder / "retain.json").unlink()
    Dataset.from_list(rows).to_parquet(folder / "retain.parquet")
    assert custom(folder).load() == expected


def test_a_named_file_wins_over_the_folder(tmp_path):
    folder = own_folder(tmp_path)
    write(tmp_path / "mine.json", texts("my own"))
    (folder / "forget.txt").write_text("a second file of this name does not matter then")
    corpus = custom(folder, forget=str(tmp_path / "mine.json")).load()
    assert list(corpus.forget) == texts("my own")


def test_single_files_need_no_folder(tmp_path):
    folder = own_folder(tmp_path)
    files = {split: str(folder / f"{split}.json") for split in ("forget", "retain", "holdout")}
    assert custom(None, **files).load() == custom(folder).load()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"path=null: .*dataset\.path=FOLDER\b.* dataset\.forget, "),
        (
            {"forget": "a", "retain": "b"},
            r"holdout=null: .*dataset\.path=FOLDER\b.* dataset\.forget, ",
        ),
        ({"path": "a", "prompt_words": 0}, "prompt_words=0: must be at least 1"),
        ({"path": "a", "num_examples": -1}, "num_examples=-1: must be at least 0"),
        ({"path": "a", "num_items": 0}, "num_items=0: must be at least 1"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        custom(**{"path": None, **settings})


def test_a_missing_folder_and_one_of_muse_are_refused(tmp_path):
    path = muse_folder(tmp_path / "muse")
    told = rf"path={path}: .*MUSE's layout; .*dataset=muse_news dataset\.path={path}"
    assert re.fullmatch(told, refusal(custom(path)))
    assert refusal(custom("/nowhere")).startswith("path=/nowhere: no such folder;")


def test_missing_and_doubled_parts_are_refused_together(tmp_path):
    folder = own_folder(tmp_path)
    (folder / "retain.json").unlink()
    (folder / "holdout.txt").write_text("a text")
    assert re.fullmatch(
        rf"{folder}/retain\.json: no such file, .*\.jsonl, \.csv, \.parquet, \.txt; "
        rf"dataset\.retain .*needed; {folder}/holdout\.json: two files "
        r".*holdout\.json and holdout\.txt; .*dataset\.holdout=FILE",
        refusal(custom(folder)),
    )


def test_no_prompt_and_no_question_left_are_refused_by_setting(tmp_path):
    folder = own_folder(tmp_path, retain_questions=questions("retain", 3))
    message = refusal(custom(folder))
    assert message.startswith(f"num_examples=3: {folder}/retain_questions.json has 3 questions")
    message = refusal(custom(folder, num_examples=1, prompt_words=99))
    assert re.match(rf"prompt_words=99: none .*first 20 texts .*{folder}/forget\.json\b", message)


def test_a_holdout_text_may_be_in_no_other_split_however_it_is_spaced(tmp_path):
    folder = own_folder(tmp_path, holdout=["new", texts("retain")[1].replace(" ", "\n ")])
    assert re.fullmatch(
        rf"{folder}/holdout\.json:3: \[1\]: .*same text.* {folder}/retain\.json:3 \(\[1\]\); "
        r".*one split.* dataset\.allow_overlap=true",
        refusal(custom(folder)),
    )


def test_the_first_problems_are_told_and_the_others_counted(tmp_path):
    folder = own_folder(tmp_path, forget=["", None, 1, {}, [], "  ", {"text": None}])
    message = refusal(custom(folder))
    assert message.count("forget.json:") == 5
    assert message.endswith(f"and 2 more (all: python -m unlearn_lab.data.check {folder})")


def test_the_page_for_users_names_every_part_and_kind_of_file(repository):
    page = (repository / "docs/your-data.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in (*PARTS, *SUFFIXES))


def test_the_examples_on_the_page_are_read(tmp_path, repository):
    page = (repository / "docs/your-data.md").read_text(encoding="utf-8")
    found = re.findall(r"`papers/(\S+?)`[^\n]*:\n\n((?:    .+\n)+)", page)
    assert [name for name, _ in found] == ["forget.jsonl", "retain.json", "forget_questions.json"]
    for name, content in found:
        (tmp_path / name).write_text(content)
        columns = PARTS[name.split(".")[0]]
        part = parse(read_rows(tmp_path / name), columns, tolerant=False)
        assert part.items
        assert not part.problems


def asked_only(folder, **changed):
    """A folder with two files of questions and no texts."""
    files = {"forget_questions": questions("forget", 4), "retain_questions": questions("retain", 6)}
    for name, rows in {**files, **changed}.items():
        write(folder / f"{name}.json", rows)
    return folder


def test_questions_alone_are_trained_on_and_asked(tmp_path):
    corpus = custom(asked_only(tmp_path), template="chat", system_prompt="Be brief.").load()
    assert corpus.forget_pairs == tuple(Question(**row) for row in questions("forget", 4))
    assert len(corpus.retain_pairs) == 6
    asked = corpus.probes["retain"][0]
    assert (asked.question, asked.answer) == tuple(questions("retain", 1)[0].values())
    assert (asked.paraphrase, asked.wrong) == (None, ())
    assert (corpus.template.kind, corpus.template.system) == ("chat", "Be brief.")
    assert not corpus.forget + corpus.retain + corpus.holdout_documents
    held = custom(asked_only(tmp_path, holdout=["unseen"])).load()
    assert held.holdout_documents == ("unseen",)


def test_a_question_to_forget_and_to_retain_is_refused(tmp_path):
    both = [*questions("retain", 2), questions("forget", 1)[0]]
    folder = asked_only(tmp_path, retain_questions=both)
    message = refusal(custom(folder))
    assert re.search(r"retain_questions\.json.*forget_questions\.json as well", message)
    assert len(custom(folder, allow_overlap=True).load().retain_pairs) == 3


def test_a_folder_of_tofu_is_named(tmp_path):
    write(tmp_path / "world_facts_perturbed.json", questions("fact", 2))
    assert "this is TOFU's data; use dataset=tofu" in refusal(custom(tmp_path))


def test_texts_beside_questions_are_trained_on(tmp_path):
    corpus = custom(own_folder(tmp_path, forget_questions=questions("forget", 5))).load()
    assert corpus.forget_pairs == ()
    assert not corpus.probes
