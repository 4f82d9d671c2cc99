import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.unlearn.optimizers.saliency import (
    choose,
    mean_gradient,
    percentile_of,
    unit_scores,
)
from unlearn_lab.unlearn.optimizers.units import layout

SCORES = st.lists(st.floats(0, 2.0**99, width=32), min_size=1, max_size=60)


@given(SCORES, st.integers(0, 999), st.integers(1, 4))
def test_the_percentile_is_a_score_by_rank_however_the_scores_are_split(scores, tenths, pieces):
    values = torch.tensor(scores)
    found = percentile_of(values.tensor_split(pieces), tenths / 10)
    place = -(-tenths * (len(scores) - 1) // 1000)
    assert found == sorted(values.tolist())[place]


@given(st.sets(st.integers(0, 10**6), min_size=2, max_size=80), st.integers(0, 99))
def test_it_keeps_what_the_linear_percentile_of_the_released_code_keeps(scores, percentile):
    values = torch.tensor(sorted(scores), dtype=torch.float32)
    gamma = np.percentile(values.double().numpy(), percentile)
    kept = values >= percentile_of([values], float(percentile))
    assert kept.tolist() == [bool(value >= gamma - 1e-6) for value in values.double()]


@pytest.mark.parametrize("percentile", [0.0, 50.0, 90.0, 95.0, 99.0, 99.5])
def test_the_share_kept_is_the_percentile(percentile):
    scores = {"a": torch.rand(1200) + 0.1, "b": torch.rand(800) * 3 + 0.1}
    mask, gamma = choose(scores, percentile)
    kept = sum(int(part.sum()) for part in mask.values())
    assert kept == 2000 - math.ceil(percentile / 100 * 1999)
    assert min(float(scores[n][m].min()) for n, m in mask.items() if m.any()) == gamma


def test_ties_with_the_threshold_are_all_kept():
    mask, gamma = choose({"a": torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0])}, 50.0)
    assert gamma == 2
    assert mask["a"].tolist() == [False, True, True, True, True]


def test_a_threshold_of_zero_is_refused_unless_everything_is_asked_for():
    scores = {"a": torch.tensor([0.0, 0.0, 0.0, 1.0])}
    with pytest.raises(ValueError, match=r"percentile=50\.0: 75 % .*units .*no forget gradient"):
        choose(scores, 50.0)
    assert choose(scores, 0.0)[0]["a"].all()
    assert choose(scores, 90.0)[0]["a"].tolist() == [False, False, False, True]


@pytest.mark.parametrize("bad", [[1.0, math.nan], [math.inf], [-1.0]])
def test_scores_that_cannot_be_ranked_are_refused(bad):
    with pytest.raises(ValueError, match="finite and not negative"):
        percentile_of([torch.tensor(bad)], 50.0)


def test_no_scores_cannot_be_ranked():
    with pytest.raises(ValueError, match="no unit"):
        percentile_of([torch.zeros(0)], 50.0)


@pytest.fixture
def parameters():
    torch.manual_seed(0)
    return {"w": torch.nn.Parameter(torch.randn(4, 3)), "v": torch.nn.Parameter(torch.randn(3))}


def losses(parameters, weights):
    for weight in weights:
        yield weight * (parameters["w"] @ parameters["v"]).pow(2).sum()


def test_the_gradient_is_the_mean_over_batches_and_leaves_nothing_behind(parameters):
    found = mean_gradient(parameters, losses(parameters, [1.0, 2.0, 6.0]))
    (3 * (parameters["w"] @ parameters["v"]).pow(2).sum()).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(found[name], parameter.grad)
        parameter.grad = None
    mean_gradient(parameters, losses(parameters, [1.0]))
    assert all(parameter.grad is None for parameter in parameters.values())
    (parameters["w"] @ parameters["v"]).sum().backward()
    assert parameters["w"].grad is not None, "the hooks are gone"


def test_bfloat16_gradients_add_up_in_float32(parameters):
    """A bfloat16 sum of 1 and 300 times 1/512 is 1: each is below half the spacing of 1."""
    parameters = {"v": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))}
    weights = [1.0, *[1 / 512] * 300]
    found = mean_gradient(parameters, (w * parameters["v"].float().sum() for w in weights))
    assert found["v"].dtype == torch.float32
    torch.testing.assert_close(found["v"] * 301, torch.full((2,), 1 + 300 / 512))


def test_only_the_given_parameters_get_a_gradient(parameters):
    found = mean_gradient({"w": parameters["w"]}, losses(parameters, [1.0]))
    assert list(found) == ["w"]
    assert parameters["v"].grad is None


def test_what_is_no_gradient_is_refused(parameters):
    with pytest.raises(ValueError, match=r"no loss .*forget split .*empty"):
        mean_gradient(parameters, [])
    with pytest.raises(ValueError, match="forget gradient of w is NaN"):
        mean_gradient(parameters, losses(parameters, [math.nan]))


def test_scores_are_norms_of_units():
    gradient = {"a.weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "b": torch.tensor([-2.0, 1.0])}
    layouts = {name: layout(name, tuple(g.shape), "row", None) for name, g in gradient.items()}
    found = unit_scores(gradient, layouts)
    assert {name: part.tolist() for name, part in found.items()} == {
        "a.weight": [5, 0],
        "b": [2, 1],
    }
