"""PrivLeak: membership inference on a model relative to the retrained model."""

from collections.abc import Mapping

import numpy as np

from unlearn_lab.evaluate.metric import AnyMetric, Score
from unlearn_lab.evaluate.min_k import MinK, document_counts
from unlearn_lab.evaluate.statistics import area, interval, pairwise_wins, resampled_areas
from unlearn_lab.plan.protocols import Published

SCORED = "scored"
PUBLISHED_AUC = {"muse_news": 0.4772, "muse_books": 0.5393}
"""AUCs of MUSE's retrained models: `forget_holdout_Min-40%` in the constants of its code."""

_CORPORA = {"muse_news": "muse-bench/MUSE-News", "muse_books": "muse-bench/MUSE-Books"}
_PUBLISHED_FRACTION = 0.4


def privleak(unlearned: Score, retrain: Score | float) -> Score | None:
    """Returns (AUC_unlearned - AUC_retrain) / AUC_retrain x 100 of `MinK` (MUSE, 2407.06460).

    In percent; near -100 means memorised. `retrain` is always the score of the full-precision
    retrained model, also when `unlearned` is quantized, or its published AUC from 0 to 1, as in
    MUSE's code. Returns None when AUC_retrain is 0, where the ratio is undefined; resamples in
    which it is 0 are left out of the interval. Forget and holdout documents are resampled
    separately, and both models share each draw; a published AUC is constant. Rows gain
    `retrain_score` if `retrain` was scored. Raises `ValueError` when the two scores differ in the
    number of documents of a split.
    """
    ours = _wins(unlearned)
    counts = document_counts(*ours.shape)
    if isinstance(retrain, Score):
        theirs = _wins(retrain)
        if ours.shape != theirs.shape:
            raise ValueError(
                f"unlearned was scored on {_spell(ours)} and retrain on {_spell(theirs)}: "
                "both must score the same documents"
            )
        control, resampled = area(theirs), resampled_areas(theirs, *counts)
        items = tuple(
            {**row, "retrain_score": score}
            for row, score in zip(unlearned.items, retrain.per_item, strict=True)
        )
    else:
        control, resampled, items = retrain, np.asarray([retrain]), unlearned.items
    if control == 0:
        return None
    low, high = interval(_leak(resampled_areas(ours, *counts), resampled))
    return Score(
        value=float(_leak(np.asarray([area(ours)]), np.asarray([control]))[0]),
        low=low,
        high=high,
        per_item=unlearned.per_item,
        items=items,
    )


def check_auc_retrain(name: object, dataset: object, metrics: Mapping[str, AnyMetric]) -> None:
    """Raises `ValueError` if a published AUC does not match the data set and the Min-K% settings.

    The content of a local folder in MUSE's layout is not checked.

    Args:
        name: `eval.auc_retrain`: `scored`, or a key of `PUBLISHED_AUC`.
        dataset: the corpus source.
        metrics: the metrics by name, among them `min_k`.
    """
    known = (SCORED, *PUBLISHED_AUC)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"eval.auc_retrain={name}: must be one of {', '.join(known)}")
    if name == SCORED:
        return
    setting = f"eval.auc_retrain={name}: is MUSE's figure for {_CORPORA[name]}"
    others = {path for corpus, path in _CORPORA.items() if corpus != name}
    published = dataset.published_as if isinstance(dataset, Published) else None
    if not isinstance(dataset, Published) or published in others:
        found = published or type(dataset).__name__
        raise ValueError(f"{setting}, and dataset is {found}; use eval.auc_retrain={SCORED}")
    min_k = metrics.get("min_k")
    if not isinstance(min_k, MinK) or min_k.fraction != _PUBLISHED_FRACTION:
        found = min_k.fraction if isinstance(min_k, MinK) else "not there"
        raise ValueError(
            f"{setting} with fraction {_PUBLISHED_FRACTION}, and eval.metrics.min_k.fraction is "
            f"{found}; use {_PUBLISHED_FRACTION}, or eval.auc_retrain={SCORED}"
        )
    if min_k.num_tokens is not None:
        raise ValueError(
            f"{setting} of whole texts, and eval.metrics.min_k.num_tokens={min_k.num_tokens} cuts "
            f"them; use eval=muse_published, or eval.auc_retrain={SCORED}"
        )


def _leak(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    defined = np.where(theirs > 0, theirs, np.nan)
    return 100 * (ours - defined) / defined


def _wins(score: Score) -> np.ndarray:
    splits = np.asarray([row["split"] for row in score.items])
    values = np.asarray(score.per_item)
    return pairwise_wins(values[splits == "forget"], values[splits == "holdout"])


def _spell(wins: np.ndarray) -> str:
    return f"{wins.shape[0]} forget and {wins.shape[1]} holdout documents"
