"""The corpus stage: what it keeps reads back equal, and a corpus at fault is told as a setting."""

import dataclasses
from pathlib import Path

import pytest

from tests.data.corpora import custom, muse, muse_folder, own_folder, questions
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus_stage import build
from unlearn_lab.data.stored import read_corpus, read_remarks
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage


def stage_of(source, work: Path):
    """The stage's facts, and the corpus that it kept in `work`."""
    place = f"{type(source).__module__}.{type(source).__name__}"
    node = {"_target_": place, **dataclasses.asdict(source)}
    facts = build({"dataset": node}, {}, work, Runtime())
    made = Stage(name="corpus", version=1, builder="", params={}, inputs={})
    return facts, read_corpus(
        Artifact(stage=made, path=work, facts=facts, seconds=0.0, built_now=True)
    )


def test_a_corpus_is_kept_whole(tmp_path):
    folder = own_folder(tmp_path / "own", forget_questions=questions("forget", 6))
    for source in (custom(folder), muse(muse_folder(tmp_path / "muse"))):
        facts, corpus = stage_of(source, tmp_path)
        assert corpus == source.load()
        assert facts["forget"] == len(corpus.forget)


def test_a_corpus_at_fault_is_told_as_a_setting(tmp_path):
    with pytest.raises(ValueError, match=r"^dataset\.path=/nowhere: no such folder"):
        stage_of(custom("/nowhere"), tmp_path)
    own_folder(tmp_path, forget=[1])
    with pytest.raises(ValueError, match=rf"^dataset: {tmp_path}/forget.json:2: \[0\]: is a num"):
        stage_of(custom(tmp_path), tmp_path)


def test_what_is_wrong_with_a_corpus_is_kept_beside_it(tmp_path):
    folder = own_folder(tmp_path, forget_questions=questions("forget", 6) * 2)
    facts, _ = stage_of(custom(folder), tmp_path)
    made = Stage(name="corpus", version=1, builder="", params={}, inputs={})
    artifact = Artifact(stage=made, path=tmp_path, facts=facts, seconds=0.0, built_now=True)
    assert read_remarks(artifact).keys() == {"repeats"}
    assert read_remarks(artifact)["repeats"].startswith(f"{folder}/forget_questions.json: 6 of 12")
