"""What an audit says, from records: verdicts, evidence, what is unknown, and its status."""

import shutil

import pytest

from tests.records import DESTROYED, FORGOT, KEPT
from unlearn_lab.audit.findings import audit_of, status_of

DULL = {"full": FORGOT["full"], "quantized": (4.4, 6.6, 60.1, 42.0)}


def test_a_return_is_shown_by_the_answers_that_rise_most(home):
    root, record = home()
    audit = audit_of(root, [record], failed=False)
    (finding,) = audit.findings
    assert (finding.verdict, finding.model) == ("comes back", "maker/unlearn")
    assert [item.asked for item in finding.evidence] == [f"question {n}" for n in range(3)]
    first = finding.evidence[0]
    assert (first.before, first.after) == (
        "first of unlearned.full",
        "first of unlearned.quantized",
    )
    assert (first.before_score, first.after_score, first.true) == (0, 50, "first")
    assert first.target == "first of target.full"
    assert audit.status == 3


def test_what_stays_forgotten_is_shown_by_the_best_answers(home):
    root, record = home(unlearned=DULL)
    (finding,) = audit_of(root, [record], failed=False).findings
    assert finding.verdict == "stays forgotten"
    assert all(item.after_score == 50 for item in finding.evidence)


def test_in_full_precision_there_is_no_answer_under_a_quantizer(home):
    root, record = home(quant="none", unlearned=KEPT)
    (finding,) = audit_of(root, [record], failed=False).findings
    assert [item.before_score for item in finding.evidence] == [30, 20, 10]
    assert {item.after for item in finding.evidence} == {None}
    assert finding.scores["unlearned"]["quantized"] == {}


def test_scores_have_their_intervals_and_models_their_digests(home):
    root, record = home()
    audit = audit_of(root, [record], failed=False)
    points = audit.findings[0].scores["unlearned"]["quantized"]["verbmem"]
    assert (points.value, points.low) == (71.3, pytest.approx(68.3))
    assert [(model.role, model.identity) for model in audit.models] == [
        ("target", "target digest"),
        ("retrain control", "retrain digest"),
        ("unlearned model", "unlearn digest"),
    ]
    assert audit.models[2].stored == "bf16"
    assert audit.dataset == {"option": "gazette", "num_forget": 20}


def test_without_a_control_it_says_what_can_be_said_and_judges_nothing(home):
    root, record = home(control=False)
    audit = audit_of(root, [record], failed=False)
    (finding,) = audit.findings
    assert finding.verdict == "not judged"
    said = " ".join(finding.without_control)
    assert "KnowMem in full precision is 6.2; the target's is 81.5." in said
    assert "Under the quantizer KnowMem is 55.0: +48.8 points" in said
    assert "of the way to the quantized target's 72.1" in said
    assert "cannot be said" in said
    assert audit.status == 4
    assert [model.role for model in audit.models] == ["target", "unlearned model"]


def test_with_a_control_the_verdict_says_it(home):
    root, record = home()
    assert audit_of(root, [record], failed=False).findings[0].without_control == ()


def test_the_thresholds_are_those_of_the_run(home):
    root, record = home(unlearned=DULL)
    record["config.report.thresholds.return_margin"] = 0.1
    record["scores.unlearned.quantized.knowmem"] = 9.0
    assert audit_of(root, [record], failed=False).findings[0].verdict == "comes back"


def test_what_was_not_tested_is_listed(home):
    root, record = home(skipped__min_k="the corpus has no holdout documents")
    del record["scores.unlearned.full.privleak"]
    untested = audit_of(root, [record], failed=False).untested
    assert not [line for line in untested if line.startswith("quantizer rtn4 ")]
    assert [line for line in untested if line.startswith("quantizer nf4 ")]
    assert "min k: the corpus has no holdout documents" in untested
    assert [line for line in untested if "PrivLeak" in line]
    assert [line for line in untested if line.startswith("relearning")]


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["stays forgotten", "stays forgotten"], 0),
        (["stays forgotten", "comes back"], 3),
        (["destroyed", "not forgotten"], 3),
        (["stays forgotten", "destroyed by the quantizer"], 4),
        (["quantizer keeps too little to tell"], 4),
        (["not judged"], 4),
        (["forgotten"], 4),
    ],
)
def test_the_status_sums_up(verdicts, status):
    assert status_of(verdicts) == status


def test_a_failure_wins(home):
    root, record = home(unlearned=DESTROYED)
    assert audit_of(root, [record], failed=True).status == 1


def test_a_repeat_whose_stages_were_removed_has_verdicts_without_evidence(home):
    root, record = home()
    shutil.rmtree(root / "cache")
    audit = audit_of(root, [record], failed=False)
    assert audit.findings[0].verdict == "comes back"
    assert audit.findings[0].evidence == ()
    assert {model.identity for model in audit.models} == {"unknown: removed from the cache"}
