"""What SURE promises, with weights, gradients, units and noise on a GPU."""

import copy

import pytest
import torch

from tests.unlearn.optimizers.test_selected import (
    OPTIMIZERS,
    fresh,
    masked_bits_are_kept,
    random_mask,
    train,
)
from unlearn_lab.unlearn.optimizers.mask import kept_units
from unlearn_lab.unlearn.optimizers.saliency import percentile_of
from unlearn_lab.unlearn.optimizers.selected import Part, SelectedOptimizer

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda")


@pytest.mark.parametrize("granularity", ["matrix", "row", "head", "weight"])
@pytest.mark.parametrize("rounding_seed", [None, 3])
@pytest.mark.parametrize("inner", sorted(OPTIMIZERS))
def test_masked_weights_keep_their_bits(granularity, rounding_seed, inner):
    layouts, mask = random_mask(granularity, 0.5)
    parameters = {
        name: torch.nn.Parameter(p.detach().to(GPU)) for name, p in fresh(torch.bfloat16).items()
    }
    before = {name: p.detach().cpu() for name, p in copy.deepcopy(parameters).items()}
    parts = {
        name: Part(parameter=parameters[name], layout=layouts[name], units=kept_units(kept, GPU))
        for name, kept in mask.items()
        if kept.any()
    }
    optimizer = SelectedOptimizer(parts, OPTIMIZERS[inner], rounding_seed=rounding_seed)
    train(optimizer, parameters, range(4))
    after = {name: p.detach().cpu() for name, p in parameters.items()}
    assert masked_bits_are_kept(before, after, layouts, mask)
    assert any(not torch.equal(before[name], after[name]) for name in parts)


def test_the_percentile_is_the_same_on_both_devices():
    scores = [torch.rand(1000), torch.rand(77)]
    on_gpu = percentile_of([part.to(GPU) for part in scores], 90.0)
    assert on_gpu == percentile_of(scores, 90.0)
