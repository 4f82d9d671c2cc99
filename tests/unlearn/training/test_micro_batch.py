"""A batch in parts trains as the whole batch does: losses, gradients, masks and weights."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.unlearn.shared_training import CASES, GA_GDR, train
from unlearn_lab.data.batch import BatchSize, pad, split
from unlearn_lab.unlearn.gradients import summed_gradients, with_gradients
from unlearn_lab.unlearn.objectives.forward import ModelForward
from unlearn_lab.unlearn.optimizers.mask import read_mask
from unlearn_lab.unlearn.optimizers.sure_released import SUREReleased
from unlearn_lab.unlearn.ranks import parts
from unlearn_lab.unlearn.training.forecast import _Live
from unlearn_lab.unlearn.training.steps import read_steps

SPLITTABLE = [
    name
    for name, case in CASES.items()
    if not isinstance(case.rule, SUREReleased) and not case.interrupt and name != "stop"
]
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-11},
    torch.float32: {"rtol": 1e-3, "atol": 1e-5},
    # the gradient of each part is rounded to bfloat16
    torch.bfloat16: {"rtol": 0.05, "atol": 0.02},
}


@pytest.mark.parametrize(
    ("name", "micro_batch"),
    [
        pytest.param(name, size, marks=[pytest.mark.slow] if (place + size) % 2 else [])
        for place, name in enumerate(SPLITTABLE)
        for size in (1, 2)
    ],
)
def test_parts_train_as_the_whole_batch(tmp_path, name, micro_batch):
    case = CASES[name]
    train(replace(case, micro_batch=None), tmp_path / "whole")
    train(replace(case, micro_batch=micro_batch), tmp_path / "parts")
    near = TOLERANCE[case.dtype]
    steps, expected = read_steps(tmp_path / "parts"), read_steps(tmp_path / "whole")
    assert len(steps) == len(expected) == 9
    for row, wanted in zip(steps, expected, strict=True):
        assert row == pytest.approx(wanted, rel=max(near["rtol"], 1e-6), abs=near["atol"])
    weights, wanted = load_file(tmp_path / "parts" / "w"), load_file(tmp_path / "whole" / "w")
    for key, value in weights.items():
        torch.testing.assert_close(value, wanted[key], **near)
    mask, expected_mask = read_mask(tmp_path / "parts"), read_mask(tmp_path / "whole")
    assert mask.keys() == expected_mask.keys()
    assert all(torch.equal(kept, expected_mask[key]) for key, kept in mask.items())
    facts = [
        json.loads((tmp_path / kind / "facts.json").read_text()) for kind in ("parts", "whole")
    ]
    assert facts[0] == facts[1]


def test_a_part_has_its_own_width_and_knows_the_batch():
    rows = [torch.arange(3, 3 + length) for length in (2, 3, 6)]
    batch = {"forget": pad(rows, [5, 6, 7], 0), "retain": pad(rows[:2], [1, 0], 0)}
    first, second = split(batch, 2)
    assert first["forget"].ids.tolist() == [[3, 4, 0], [3, 4, 5]]
    assert first["forget"].real.tolist() == [[True, True, False], [True, True, True]]
    assert second["forget"].ids.tolist() == [[3, 4, 5, 6, 7, 8]]
    assert second["forget"].index.tolist() == [7]
    assert len(second["retain"].ids) == 0
    whole = {"forget": BatchSize(3, 8), "retain": BatchSize(2, 3)}
    assert {role: part.whole for role, part in first.items()} == whole
    assert {role: part.size for role, part in second.items()} == whole


@pytest.mark.parametrize("micro_batch", [4, 5])
def test_a_batch_that_fits_is_not_split(tokens, micro_batch):
    batch = {"forget": tokens}
    assert split(batch, micro_batch) == [batch]


def test_bfloat16_gradients_are_summed_in_float32():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    sums, count = summed_gradients({"w": weight}, (weight.sum() for _ in range(1001)))
    assert (sums["w"].item(), count) == (1001.0, 1001)  # bfloat16 would end at 256
    with_gradients(torch.tensor(0.5), {weight: sums["w"]}).backward()
    assert weight.grad is not None
    assert (weight.grad.dtype, weight.grad.item()) == (torch.bfloat16, 1000.0)


def test_memory_is_that_of_one_part(model, sequences):
    """The graph of a part is freed before the next part runs: at most one is alive."""
    batch = {"forget": pad(sequences, range(4), 0), "retain": pad(sequences, range(4), 0)}
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def peak(micro_batch):
        with _Live() as live:
            losses = (
                GA_GDR(ModelForward(model, None), part).total for part in parts(batch, micro_batch)
            )
            sums, _ = summed_gradients(parameters, losses)
        return live.peak - sum(total.nbytes for total in sums.values())

    assert peak(1) < 0.6 * peak(None)
