"""Corpora that cannot serve every metric: what is refused, and which jobs go through."""

import dataclasses
import re

import pytest

from tests.data.corpora import muse_folder, texts
from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.config.build import Refused
from unlearn_lab.config.exits import Finished
from unlearn_lab.data.corpus import Question
from unlearn_lab.data.gazette import Gazette
from unlearn_lab.execute.ending import close
from unlearn_lab.execute.job import request, run

CHOICES = {"model": "tiny", "dataset": "gazette", "method": "m", "optimizer": "adamw", "quant": "q"}
QUESTIONS = ("forget_questions", "forget_examples", "retain_questions", "retain_examples")
FLUENCY = "{_target_: unlearn_lab.evaluate.fluency.Fluency, prompt_words: 3, num_tokens: 6}"


@pytest.fixture
def ask(composed, tmp_path, monkeypatch):
    """A job on a corpus without the named parts."""

    def make(*overrides, without=()):
        whole = Gazette.load
        monkeypatch.setattr(
            Gazette,
            "load",
            lambda self: dataclasses.replace(whole(self), **dict.fromkeys(without, ())),
        )
        home = f"runtime.home={tmp_path / 'lab'}"
        return request(composed(*SMALL, *SMALL_MODEL, home, "method=ga", *overrides), CHOICES)

    return make


@pytest.fixture
def ask_folds(composed, tmp_path):
    """A job on four folds: texts of 22 words (about 30 tokens), each `times` times over."""

    def make(*overrides, numbers=(6, 6, 6, 6), times=1):
        fold = {
            "raw__forget" if n == 1 else f"sust__forget_{n}": [
                " ".join([text] * times) for text in texts(f"fold {n}", number)
            ]
            for n, number in enumerate(numbers, start=1)
        }
        folder = muse_folder(tmp_path / "news", **fold)
        settings = [setting for setting in SMALL if not setting.startswith("dataset.")]
        settings += [*SMALL_MODEL, "finetune.batch_size=1", "method=ga"]
        settings += [f"runtime.home={tmp_path / 'lab'}", "dataset=muse_news"]
        settings += [f"dataset.path={folder}", "dataset.folds=sustainability"]
        return request(composed(*settings, *overrides), CHOICES)

    return make


def closing(asked, outcome, capsys):
    """What is printed at the end, in one line; the report must be written as well."""
    with pytest.raises(Finished) as finished:
        close([outcome], asked.values.runtime, asked.values.report, before=[], skipped=[], again=[])
    assert finished.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("overrides", "without", "message"),
    [
        (
            ("trainer/stop=utility",),
            QUESTIONS,
            "trainer.stop: needs utility, .*no questions .*retain .*trainer/stop=fixed",
        ),
        (
            (
                *("~eval.metrics.utility", "~eval.metrics.knowmem", "~eval.metrics.min_k"),
                *("eval.memories=[verbmem]", "eval.utility=null"),
            ),
            ("verbatim",),
            r"eval.metrics: nothing .*\(verbmem: .*no prompts",
        ),
        (
            ("eval.auc_retrain=muse_news",),
            (),
            "eval.auc_retrain=muse_news: .*MUSE-News, .*Gazette; .*eval.auc_retrain=scored",
        ),
        (("eval.auc_retrain=0.5",), (), "eval.auc_retrain=0.5: .*one of scored, muse_news"),
        (("eval.metrics.verbmem.num_samples=2",), (), "eval.metrics.verbmem.num_samples=2: greedy"),
    ],
)
def test_refusals_before_anything_is_trained(ask, tmp_path, overrides, without, message):
    with pytest.raises(Refused, match=message) as refusal:
        ask(*overrides, without=without)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "lab" / "cache" / "target").exists()


def test_a_file_that_cannot_be_read_is_not_taken_for_the_folder_of_results(ask):
    name = "x" * 300
    settings = ("quant=gptq4", "generic_text=hf", f"generic_text.path=/{name}")
    with pytest.raises(Refused, match=rf"^/{name}: cannot be read \(File name too long\)$"):
        ask(*settings)


def test_a_corpus_without_questions_and_holdout_is_measured_by_what_it_has(ask, capsys):
    asked = ask("quant=rtn4", without=(*QUESTIONS, "holdout_documents"))
    outcome = run(asked)
    record = outcome.record
    assert record["scores.unlearned.quantized.verbmem"] is not None
    assert record["quantizer.logit_error"] is None
    skipped = {key: record[key] for key in record if key.startswith("skipped.")}
    assert skipped.keys() == {"skipped.knowmem", "skipped.utility", "skipped.min_k"}
    assert re.search("no questions .*forget", skipped["skipped.knowmem"])
    assert re.search("no questions .*retain", skipped["skipped.utility"])
    assert "no holdout documents" in skipped["skipped.min_k"]
    out = closing(asked, outcome, capsys)
    assert len(re.findall(r"Not measured: KnowMem \([^)]*no questions [^)]*forget", out)) == 1
    assert "not judged" in out
    assert "target knows no more" in out  # it was trained for six steps


def test_sampling_and_further_metrics_reach_the_record(ask, capsys):
    asked = ask(
        "quant=none",
        "eval=muse_sampled",
        "eval.metrics.verbmem.num_samples=2",
        f"+eval.metrics.fluency={FLUENCY}",
    )
    outcome = run(asked)
    record = outcome.record
    assert record["scores.retrain.full.fluency"] >= 0
    assert record["items.verbmem"] == 5
    assert record["config.eval.metrics.verbmem.temperature"] == 0.9
    assert "fluency" in closing(asked, outcome, capsys)


def test_a_record_without_a_retrain_control(ask, capsys):
    """The leaf's stage without the evaluations of the control, as a plan without one has it."""
    asked = ask("quant=rtn4")
    leaf = asked.plan.record
    kept = {name: stage for name, stage in leaf.inputs.items() if not name.startswith("retrain")}
    bare = dataclasses.replace(leaf, inputs=kept)
    plan = dataclasses.replace(asked.plan, record=bare)
    outcome = run(dataclasses.replace(asked, plan=plan, goals=(bare,)))
    record = outcome.record
    assert record["recovery.verbmem.delta"] is not None
    assert record["recovery.verbmem.excess"] is None
    assert record["scores.unlearned.full.privleak"] is None
    assert not [key for key in record if key.startswith("scores.retrain.")]
    out = closing(asked, outcome, capsys)
    assert re.search(r"PrivLeak: undefined [^.]*retrain control", out)


@pytest.mark.parametrize(
    ("overrides", "corpus", "message"),
    [
        (
            ("trainer.batch_size=5",),
            {"numbers": (6, 6, 4, 6)},
            "trainer.batch_size=5: fold 3 .*has 4 sequences",
        ),
        (("trainer.chunking=stream",), {}, "trainer.batch_size=4: fold 1 .*has 1 sequences"),
        (
            ("trainer.batch_size=3", "optimizer=sure", "optimizer.batches=2"),
            {"numbers": (6, 6, 3, 6)},
            "optimizer.batches=2: an epoch has 1",
        ),
    ],
)
def test_the_smallest_fold_decides_what_is_possible(
    ask_folds, tmp_path, overrides, corpus, message
):
    with pytest.raises(Refused, match=message):
        ask_folds(*overrides, **corpus)
    assert not (tmp_path / "lab" / "cache" / "target").exists()


def test_few_long_texts_make_many_sequences_as_one_stream(ask_folds):
    """As in MUSE-Books: four texts in a fold, and batches of eight."""
    books = {"numbers": (4, 4, 4, 4), "times": 48}
    batch = ("trainer.chunking=stream", "trainer.batch_size=8")
    asked = ask_folds(*batch, **books)
    assert len(asked.plan.corpora.steps) == 4
    with pytest.raises(Refused, match=r"^trainer\.batch_size=99: fold 1 .* has 1\d "):
        ask_folds("trainer.chunking=stream", "trainer.batch_size=99", **books)


def test_a_run_says_what_is_wrong_with_its_corpus(ask, monkeypatch, caplog, capsys):
    """Once in the log, before anything is trained, then in the record and under the table."""
    whole = Gazette.load
    asked = (Question("Who?", "Ada\n\nor Bo"), Question("Who?", "Ada\n\nor Bo"))
    monkeypatch.setattr(
        Gazette, "load", lambda self: dataclasses.replace(whole(self), forget_questions=asked)
    )
    first, second = ask("quant=rtn4"), ask("quant=rtn8")
    repeats = r"forget_questions: 1 of 2 \(at 2\) repeat [^;]*, 2 that at 1"
    answers = r"knowmem: 2 of 2 true answers [^;(]*\(\\n\\n, \\nQuestion, Question:\)"
    warned = [line.getMessage() for line in caplog.records if line.name.endswith("preflight")]
    assert len(warned) == 2
    assert [bool(re.match(f"corpus: {repeats}", line)) for line in warned] == [True, False]
    assert re.match(f"corpus: {answers}; 2 of 2 .*longer", warned[1])
    outcome = run(first)
    assert outcome.record["corpus.answers"] == warned[1].removeprefix("corpus: ")
    assert re.match(repeats, outcome.record["corpus.repeats"])
    shown = closing(first, outcome, capsys)
    assert re.search(f"Corpus: {answers}", shown)
    assert re.search(repeats, shown)
    assert second.plan.record.key != first.plan.record.key
