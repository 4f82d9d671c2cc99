"""What is said under the tables when scores are missing, and that every view copes."""

import io

import pytest
from rich.console import Console

from tests.messages import tells
from tests.records import by_other_metrics
from unlearn_lab.record.leaf import shown_metrics
from unlearn_lab.record.verdict import verdict
from unlearn_lab.report.html import page as html
from unlearn_lab.report.notes import notes
from unlearn_lab.report.sentences import headlines
from unlearn_lab.report.terminal.table import print_results
from unlearn_lab.report.wandb.payload import summary_of

REASON = "the corpus has no questions about the retain set"


def without(record, *prefixes):
    return {key: value for key, value in record.items() if not key.startswith(prefixes)}


@pytest.fixture
def useless(make_record):
    """A record without utility."""
    scores = [f"scores.{who}.{precision}.utility" for who in ("unlearned", "target", "retrain")
              for precision in ("full", "quantized")]  # fmt: skip
    return {**without(make_record(), *scores), "skipped.utility": REASON}


@pytest.fixture
def alone(make_record):
    """A record without a retrain control; PrivLeak cannot be told."""
    record = make_record(
        recovery__verbmem__excess=None,
        recovery__knowmem__excess=None,
        scores__unlearned__full__privleak=None,
        scores__unlearned__full__auc=47.0,
    )
    return without(record, "scores.retrain.")


@pytest.fixture
def fluent(make_record):
    further = {
        f"scores__{who}__{precision}__fluency{end}": 544.9 + shift
        for who in ("unlearned", "target", "retrain")
        for precision in ("full", "quantized")
        for end, shift in (("", 0.0), ("__low", -10.0), ("__high", 10.0))
    }
    return make_record(**further)


@pytest.fixture
def printed(thresholds):
    def at_width(records, width=200):
        stream = io.StringIO()
        print_results(Console(file=stream, width=width), records, thresholds)
        return stream.getvalue()

    return at_width


def test_a_complete_record_needs_no_note(sweep, thresholds):
    assert notes(sweep, thresholds) == []


def test_a_skipped_metric_is_told_once_with_its_reason(useless, printed, thresholds, tmp_path):
    unmeasured, unjudged = notes([useless, {**useless, "seed": 1}], thresholds)
    assert unmeasured == f"Not measured: Utility ({REASON})."
    assert tells(unjudged, "Not judged", "without Utility", "destroyed")
    shown = printed([useless])
    assert shown.count(f"Utility ({REASON})") == 1
    row = next(line for line in shown.splitlines() if line.startswith("npo_gdr"))
    assert "- →     -" in row
    assert row.endswith("not judged")
    page = html.render(tmp_path, [useless], thresholds, num_samples=1)
    assert page.count(f"Utility ({REASON})") == 1
    assert summary_of(useless)["skipped"] == {"utility": REASON}


def test_data_sets_are_named_where_only_some_lack_something(useless, make_record, thresholds):
    told = notes([make_record(), {**useless, "dataset": "custom"}], thresholds)
    assert told[0] == f"Not measured: Utility ({REASON}) on custom."


def test_min_k_is_called_by_what_it_serves(make_record, thresholds):
    reason = "the corpus has no holdout documents"
    record = make_record(skipped__min_k=reason)
    assert notes([record], thresholds) == [f"Not measured: PrivLeak ({reason})."]


def test_without_a_retrain_control_every_view_is_whole(alone, printed, thresholds, tmp_path):
    assert verdict(alone, thresholds) == "not judged"
    unjudged, privleak = notes([alone], thresholds)
    assert tells(unjudged, "Not judged", "no retrain control")
    assert tells(privleak, "PrivLeak", "undefined", "retrain control")
    shown = printed([alone])
    assert "retrain  " not in shown
    assert "80 %" in shown
    page = html.render(tmp_path, [alone], thresholds, num_samples=1)
    assert page.count("<svg") == 3
    assert unjudged in page
    assert "retrain" not in summary_of(alone)["scores"]
    assert tells(headlines([alone], thresholds)[0], "1 unlearned model", "1 cannot be judged")


def test_a_hatched_cell_may_be_one_that_was_not_measured(make_record, thresholds, tmp_path):
    record = without(make_record(), "recovery.knowmem", "scores.unlearned.full.knowmem")
    page = html.render(tmp_path, [record], thresholds, num_samples=1)
    assert tells(" ".join(page.split()), "Hatched", "undefined", "not measured")


def test_a_published_area_is_named(alone, thresholds):
    published = {"config.eval.auc_retrain": "muse_books", "effective.auc_retrain": 0.5393}
    told = notes([{**alone, **published}], thresholds)
    assert any(tells(line, "PrivLeak", "AUC", "MUSE", "0.5393") for line in told)


def test_further_metrics_come_after_the_four(fluent, printed, thresholds, tmp_path):
    assert shown_metrics([fluent]) == ("verbmem", "knowmem", "utility", "privleak", "fluency")
    (note,) = notes([fluent], thresholds)
    assert tells(note, "units of their own", "fluency")
    shown = printed([fluent])
    heading = next(line.split() for line in shown.splitlines() if "PrivLeak" in line)
    assert heading.index("fluency") == heading.index("PrivLeak") + 1
    assert shown.count("544.9 → 544.9") == 3
    page = html.render(tmp_path, [fluent], thresholds, num_samples=1)
    assert page.count("<th>fluency</th>") == 2
    assert page.count("544.9 [534.9, 554.9]") == 6
    assert summary_of(fluent)["scores"]["target"]["full"]["fluency_low"] == 534.9


@pytest.mark.parametrize("width", [60, 80, 120])
def test_further_metrics_are_not_cut(fluent, printed, width):
    shown = printed([fluent], width)
    assert "544.9 → 544.9" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_record_without_a_further_metric_shows_a_dash(fluent, make_record, printed):
    shown = printed([fluent, make_record(seed=1)])
    assert shown.count("544.9 → 544.9") >= 1
    assert "    - →     -" in shown


def test_what_is_wrong_with_the_corpus_is_said_once(make_record, thresholds):
    repeats = "forget.jsonl: 3 of 9 (at 4, 5, 6) repeat an earlier one"
    answers = "knowmem: 1 of 9 true answers are longer than an answer may be (32 tokens)"
    records = [
        make_record(quant=quant) | {"corpus.repeats": repeats, "corpus.answers": answers}
        for quant in ("rtn4", "rtn8")
    ]
    assert notes(records, thresholds)[0] == f"Corpus: {answers}; {repeats}."


def test_other_metrics_have_the_columns_and_plots_of_those_of_muse(
    make_record, printed, thresholds, tmp_path
):
    record = by_other_metrics(make_record())
    assert shown_metrics([record]) == ("recall", "skills", "forget_quality_log10")
    shown = printed([record])
    assert all(word in shown for word in ("recall", "skills", "Forget quality", "-12.5"))
    assert tells(
        " ".join(shown.split()), "log10 of its p-value", "recall: what is left of the forget"
    )
    assert "VerbMem" not in shown
    assert "PrivLeak" not in shown
    page = html.render(tmp_path, [record], thresholds, num_samples=1)
    assert page.count("<th>skills</th>") == 2
    assert "VerbMem" not in page
