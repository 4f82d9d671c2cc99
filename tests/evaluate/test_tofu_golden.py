"""TOFU's aggregate figures of four published checkpoints, from their losses per question."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from unlearn_lab.evaluate.forget_quality import forget_quality
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.model_utility import combined
from unlearn_lab.evaluate.probes import mean_score
from unlearn_lab.evaluate.truth_ratio import log_truth_ratio, low, near_one

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "tofu" / "golden"
LLAMA, PHI = "ft_epoch5_lr1e-05_llama2-7b_{}_wd0.01", "ft_epoch5_lr2e-05_phi_{}_wd0.01"
FORGET_QUALITY = {LLAMA: (1.834e-21, 0.3967), PHI: (2.19e-16, 0.3467)}
ABOUT = {"ra": "real_authors", "wf": "world_facts", "retain": "retain", "forget": "forget"}


def read(name: str) -> dict:
    file = FOLDER / f"{name}.json"
    if not file.exists():
        pytest.skip("needs shared/data/tofu beside the repository")
    return json.loads(file.read_text(encoding="utf-8"))


def scores(golden: dict, mean: str = "geometric") -> dict[str, Score]:
    """The scores that our formulas give of the losses, by TOFU's names."""
    found = {}
    for name in ABOUT:
        rows = golden[name]
        probability = np.exp(-np.asarray(rows["avg_gt_loss"]))
        if name in ("ra", "wf"):
            wrong = np.exp(-np.asarray(rows["average_perturb_loss"])).sum(axis=1)
            probability = probability / (probability + wrong)
        ratios = [
            log_truth_ratio(true, wrong, mean)
            for true, wrong in zip(
                rows["avg_paraphrased_loss"], rows["average_perturb_loss"], strict=True
            )
        ]
        shown = (near_one if name == "forget" else low)(np.asarray(ratios))
        table = [{"log_ratio": ratio} for ratio in ratios]
        found[f"{name}.prob"] = mean_score(100 * probability, table)
        found[f"{name}.rouge"] = mean_score(100 * np.asarray(rows["rougeL_recall"]), table)
        found[f"{name}.tr"] = mean_score(100 * shown, table)
    return found


@pytest.mark.parametrize("split", ["full", "retain90"])
@pytest.mark.parametrize("model", [LLAMA, PHI])
def test_tofu_golden_scores_and_model_utility(model, split):
    golden = read(model.format(split))
    found, expected = scores(golden), dict(golden["expected"])
    utility = combined({name: one for name, one in found.items() if not name.startswith("forget")})
    assert utility.value / 100 == pytest.approx(expected.pop("model_utility"), abs=1e-6)
    assert utility.low < utility.value < utility.high
    assert expected.keys() <= found.keys()
    for name, value in expected.items():
        assert found[name].value / 100 == pytest.approx(value, abs=1e-6), name


def test_tofu_golden_arithmetic_mean_gives_another_utility():
    """The paper's formula does not give the published 0.6227."""
    found = scores(read(LLAMA.format("full")), "arithmetic")
    utility = combined({name: one for name, one in found.items() if not name.startswith("forget")})
    assert utility.value == pytest.approx(58.59, abs=0.01)


@pytest.mark.parametrize("model", [LLAMA, PHI])
def test_tofu_golden_forget_quality(model):
    full, retain = (scores(read(model.format(name)))["forget.tr"] for name in ("full", "retain90"))
    p, distance = FORGET_QUALITY[model]
    found = forget_quality(full, retain)
    assert found.p == pytest.approx(p, rel=2e-3)
    assert found.distance == pytest.approx(distance, abs=1e-4)
    assert found.log10_p == pytest.approx(math.log10(p), abs=1e-3)
    same = forget_quality(retain, retain)
    assert (same.p, same.log10_p, same.distance) == (1.0, 0.0, 0.0)
