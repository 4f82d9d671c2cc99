"""Which figures a record holds, whatever was measured."""

import pytest

from unlearn_lab.evaluate.metric import Score
from unlearn_lab.record.score_figures import score_figures


def scored(*per_item):
    value = sum(per_item) / len(per_item)
    return Score(value=value, low=value - 1, high=value + 1, per_item=per_item, items=())


def min_k(*forget):
    """Against holdout scores of 2 and 4."""
    rows = [("forget", value) for value in forget] + [("holdout", 2.0), ("holdout", 4.0)]
    wins = [(f > h) + 0.5 * (f == h) for f in forget for h in (2.0, 4.0)]
    return Score(
        value=100 * sum(wins) / len(wins),
        low=0.0,
        high=100.0,
        per_item=tuple(value for _, value in rows),
        items=tuple({"text": "t", "split": split, "score": value} for split, value in rows),
    )


@pytest.fixture
def scores():
    """Unlearned 20 -> 50, target 80 -> 60, retrain 12 -> 10; AUC 1/4 -> 0 against 1/2."""
    verbmem = {"unlearned": (20.0, 50.0), "target": (80.0, 60.0), "retrain": (12.0, 10.0)}
    areas = {"unlearned": ((1.0, 3.0), (0.0, 0.0)), "target": ((0.0,) * 2,) * 2}
    areas |= {"retrain": ((1.0, 5.0), (1.0, 5.0))}
    return {
        f"{who}.{precision}": {
            "verbmem": scored(*[verbmem[who][place]] * 4),
            "min_k": min_k(*areas[who][place]),
            "fluency": scored(500.0, 600.0),
        }
        for who in ("unlearned", "target", "retrain")
        for place, precision in enumerate(("full", "quantized"))
    }


def figures(scores, auc_retrain="scored"):
    return score_figures(
        scores,
        memories=("verbmem", "knowmem"),
        auc_retrain=auc_retrain,
        smallest_denominator=5.0,
        smallest_kept=0.25,
    )


def without_retrain(scores):
    return {name: found for name, found in scores.items() if not name.startswith("retrain")}


def test_with_everything(scores):
    row = figures(scores)
    assert row["scores.unlearned.full.fluency"] == 550.0
    assert row["scores.unlearned.full.fluency.low"] == 549.0
    assert row["scores.unlearned.full.privleak"] == pytest.approx(-50.0)
    assert row["scores.retrain.full.privleak"] == 0.0
    assert row["effective.auc_retrain"] == 0.5
    assert row["recovery.verbmem.excess"] == 32.0
    assert row["items.verbmem"] == 4


def test_without_a_retrain_control_only_what_needs_it_is_null(scores):
    whole, row = figures(scores), figures(without_retrain(scores))
    changed = {key for key in whole if whole[key] != row.get(key)}
    assert {key.removesuffix(".low").removesuffix(".high") for key in changed} == {
        *(key for key in whole if key.startswith("scores.retrain.") and key.count(".") == 3),
        *(f"scores.{name}.privleak" for name in without_retrain(scores)),
        "recovery.verbmem.excess",
        "recovery.verbmem.target_kept",  # of the plain scores then
        "effective.auc_retrain",
    }
    assert row["scores.unlearned.full.privleak"] is None
    assert row["recovery.verbmem.excess"] is None
    assert row["recovery.verbmem.target_kept"] == 0.75
    assert row["effective.auc_retrain"] is None


@pytest.mark.parametrize("cut", [dict, without_retrain])
def test_a_published_area_stands_for_the_control_and_outranks_it(scores, cut):
    row = figures(cut(scores), "muse_news")
    assert row["scores.unlearned.full.privleak"] == pytest.approx(100 * (0.25 / 0.4772 - 1))
    assert row["effective.auc_retrain"] == 0.4772


def test_a_metric_that_was_skipped_has_no_figures(scores):
    row = figures({name: {"verbmem": found["verbmem"]} for name, found in scores.items()})
    assert not [key for key in row if "privleak" in key or "auc" in key.split(".")]
    assert "items.min_k" not in row
    assert row["effective.auc_retrain"] is None
    assert row["recovery.verbmem.recovered_share"] == 0.75
