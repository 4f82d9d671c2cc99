"""Scores of a training by epoch: when they are taken, and what an interrupted one keeps."""

from unittest.mock import Mock

import pytest

from unlearn_lab.unlearn.training.curve import FILE, Curve, Point, as_curve, read_curve
from unlearn_lab.unlearn.training.scoring import Observed, Scoring, scored_by, with_scores
from unlearn_lab.unlearn.training.stop import StopContext
from unlearn_lab.unlearn.training.watcher import watched

TRAINING = Observed(context=Mock(spec=StopContext), adapters=None)


class Counting:
    """Scores every second epoch by its number."""

    def __init__(self, metric="knowmem"):
        self.curve = Curve(settings={"metric": metric, "quantizer": "rtn4"}, points=())
        self.asked = []

    def is_due(self, epoch):
        return epoch % 2 == 0

    def point(self, training, epoch):
        assert training is TRAINING
        self.asked.append(epoch)
        return Point(epoch=epoch, full={"knowmem": float(epoch)}, quantized={})


class Shown:
    def __init__(self):
        self.epochs = []

    def begin(self):
        pytest.fail("it trains nothing")

    def step(self, step, figures):
        pytest.fail("it trains nothing")

    def scores(self, point):
        self.epochs.append(point.epoch)

    def end(self, *, complete):
        pytest.fail("it trains nothing")


def epochs(folder):
    curve = read_curve(folder)
    return None if curve is None else [point.epoch for point in curve.points]


def stop_in_four(epoch):
    return "enough" if epoch == 4 else None


def test_the_target_and_every_second_epoch_are_scored_before_the_rule_decides(tmp_path):
    scoring, shown = Counting(), Shown()
    assert isinstance(scoring, Scoring)
    with scored_by(scoring), watched(shown):
        rule = with_scores(TRAINING, stop_in_four, tmp_path)
        assert epochs(tmp_path) == [0]
        assert [rule(epoch) for epoch in (1, 2, 3, 4)] == [None, None, None, "enough"]
    assert scoring.asked == shown.epochs == epochs(tmp_path) == [0, 2, 4]
    curve = read_curve(tmp_path)
    assert curve is not None
    assert curve.settings == scoring.curve.settings
    assert curve.quantizer == "rtn4"
    assert curve.points[1] == Point(epoch=2, full={"knowmem": 2.0}, quantized={})


def test_a_resume_scores_no_epoch_twice_and_shows_those_that_it_has(tmp_path):
    with scored_by(Counting()):
        with_scores(TRAINING, stop_in_four, tmp_path)(2)
    scoring, shown = Counting(), Shown()
    with scored_by(scoring), watched(shown):
        rule = with_scores(TRAINING, stop_in_four, tmp_path)
        for epoch in (2, 3, 4):
            rule(epoch)
    assert scoring.asked == [4]
    assert shown.epochs == epochs(tmp_path) == [0, 2, 4]


def test_a_resume_with_other_settings_begins_a_new_curve(tmp_path):
    with scored_by(Counting()):
        with_scores(TRAINING, stop_in_four, tmp_path)(2)
    scoring = Counting("verbmem")
    with scored_by(scoring):
        with_scores(TRAINING, stop_in_four, tmp_path)(4)
    assert scoring.asked == epochs(tmp_path) == [0, 4]


def test_without_a_scoring_nothing_is_kept_of_an_earlier_one(tmp_path):
    with scored_by(Counting()):
        with_scores(TRAINING, stop_in_four, tmp_path)
    assert with_scores(TRAINING, stop_in_four, tmp_path) is stop_in_four
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"points": []}', '{"settings": {}, "points": [{"epoch": 1}]}']
)
def test_what_is_no_curve_is_none(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert read_curve(tmp_path) is None
    assert as_curve(content) is None
