"""A training that is watched: what is seen, when, and that nothing of it changes."""

import pytest
import torch
from safetensors.torch import load_file

from tests.unlearn import shared_training
from tests.unlearn.shared_training import CASES, train
from unlearn_lab.unlearn.training.steps import read_steps
from unlearn_lab.unlearn.training.watcher import Watcher, current_watcher, watched


class Seen:
    """Keeps what it is shown."""

    def __init__(self):
        self.steps = []
        self.begun = 0
        self.ended = []

    def begin(self):
        self.begun += 1

    def step(self, step, figures):
        self.steps.append({"step": step, **figures})

    def scores(self, point):
        self.steps.append(point)

    def end(self, *, complete):
        self.ended.append(complete)


FURTHER = {"learning_rate", "epoch", "tokens_per_second"}


@pytest.mark.parametrize("name", ["ga_gdr", "parts", "bf16_sr", "learning"])
def test_what_is_seen_is_what_is_stored_and_nothing_else_changes(tmp_path, name):
    seen = Seen()
    assert isinstance(seen, Watcher)
    with watched(seen):
        train(CASES[name], tmp_path / "watched")
    train(CASES[name], tmp_path / "alone")
    weights = load_file(tmp_path / "alone" / "w")
    for key, value in load_file(tmp_path / "watched" / "w").items():
        assert torch.equal(value, weights[key])
    stored = read_steps(tmp_path / "watched")
    assert stored == read_steps(tmp_path / "alone")
    assert [{k: v for k, v in row.items() if k not in FURTHER} for row in seen.steps] == stored
    for row in seen.steps:
        assert row.keys() >= FURTHER
        assert row["learning_rate"] == 0.01
        assert row["epoch"] == pytest.approx((row["step"] + 1) / 3)  # seven texts, three at a time
        assert row["tokens_per_second"] > 0
    assert (seen.begun, seen.ended) == (1, [True])


def test_an_interrupted_training_ends_incomplete_and_begins_again(tmp_path):
    seen = Seen()
    with watched(seen):
        shared_training.run("resumed", tmp_path)
    assert (seen.begun, seen.ended) == (2, [False, True])
    last = {row["step"]: row for row in seen.steps}  # a resume may repeat steps
    kept = [{k: v for k, v in last[step].items() if k not in FURTHER} for step in sorted(last)]
    assert kept == read_steps(tmp_path / "resumed")


def test_nobody_watches_unless_asked(tmp_path):
    seen = Seen()
    with watched(seen):
        assert current_watcher() is seen
        with watched(None):
            train(CASES["ga"], tmp_path)
        assert current_watcher() is seen
    assert current_watcher() is None
    assert seen.steps == []
