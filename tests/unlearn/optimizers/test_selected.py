"""Weights that are not chosen keep their bits; those that are follow the inner optimizer."""

import copy
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.unlearn.optimizers.mask import kept_units
from unlearn_lab.unlearn.optimizers.selected import Part, SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import layout

CPU = torch.device("cpu")
SHAPES = {"model.layers.0.self_attn.q_proj.weight": (8, 6), "b.weight": (6, 8), "c": (6,)}
OPTIMIZERS = {
    "adamw": functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.3),
    "momentum": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adagrad": functools.partial(torch.optim.Adagrad, lr=0.05, weight_decay=0.1),
    "foreach": functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.3, foreach=True),
}


def fresh(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype))
        for name, shape in SHAPES.items()
    }


def random_mask(granularity, share, seed=1):
    generator = torch.Generator().manual_seed(seed)
    layouts = {name: layout(name, shape, granularity, 2) for name, shape in SHAPES.items()}
    return layouts, {
        name: torch.rand(found.num_units, generator=generator) < share
        for name, found in layouts.items()
    }


def parts_of(parameters, layouts, mask):
    return {
        name: Part(parameter=parameters[name], layout=layouts[name], units=kept_units(kept, CPU))
        for name, kept in mask.items()
        if kept.any()
    }


def loss_of(parameters, step):
    """Anything in which every weight has a gradient, another one each step."""
    a, b, c = (p.float() for p in parameters.values())
    return ((a @ b @ a + step) * c).tanh().sum() + (a.sum() * b.sum() * c.sum()) * 1e-2


def train(optimizer, parameters, steps, clip=1.0):
    for step in steps:
        optimizer.zero_grad()
        loss_of(parameters, step).backward()
        if isinstance(optimizer, SelectedOptimizer):
            optimizer.gather()
        held = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(held, clip)
        optimizer.step()


def kept_weights(layouts, mask):
    """Which single weights take part, in the parameter's shape."""
    found = {}
    for name, kept in mask.items():
        marked = torch.zeros(SHAPES[name], dtype=torch.bool)
        units = kept.nonzero().squeeze(1)
        layouts[name].put(marked, units, torch.ones_like(layouts[name].take(marked, units)))
        found[name] = marked
    return found


def masked_bits_are_kept(before, after, layouts, mask):
    return all(
        torch.equal(before[name][~marked], after[name][~marked])
        for name, marked in kept_weights(layouts, mask).items()
    )


@given(
    st.sampled_from(["matrix", "row", "head", "weight"]),
    st.sampled_from(sorted(OPTIMIZERS)),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.floats(0.2, 0.9),
    st.integers(0, 50),
    st.booleans(),
)
def test_masked_weights_keep_their_bits(granularity, inner, dtype, share, seed, stochastic):
    layouts, mask = random_mask(granularity, share, seed)
    if not any(kept.any() for kept in mask.values()):
        return
    parameters = fresh(dtype, seed)
    before = copy.deepcopy(parameters)
    rounding = seed if stochastic and dtype == torch.bfloat16 else None
    optimizer = SelectedOptimizer(
        parts_of(parameters, layouts, mask), OPTIMIZERS[inner], rounding_seed=rounding
    )
    train(optimizer, parameters, range(4))
    assert masked_bits_are_kept(before, parameters, layouts, mask)
    moved = [
        (before[name] != parameters[name])[marked]
        for name, marked in kept_weights(layouts, mask).items()
    ]
    assert torch.cat(moved).float().mean() > 0.5


@pytest.mark.parametrize("inner", ["adamw", "momentum"])
def test_a_mask_on_the_gradient_alone_is_not_enough(inner):
    """The control of the test above: weight decay and momentum move what has no gradient."""
    layouts, mask = random_mask("row", 0.5)
    parameters = fresh(torch.float32)
    before = copy.deepcopy(parameters)
    marked = kept_weights(layouts, mask)
    optimizer = OPTIMIZERS[inner](parameters.values())
    for step in range(4):
        optimizer.zero_grad()
        loss_of(parameters, step).backward()
        for name, parameter in parameters.items():
            parameter.grad.mul_(marked[name])
        optimizer.step()
    assert not masked_bits_are_kept(before, parameters, layouts, mask)


@pytest.mark.parametrize("inner", sorted(OPTIMIZERS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_of_ones_is_the_plain_optimizer(inner, dtype):
    layouts, mask = random_mask("row", 2.0)
    plain, chosen = fresh(dtype), fresh(dtype)
    train(OPTIMIZERS[inner](plain.values()), plain, range(5))
    parts = parts_of(chosen, layouts, mask)
    train(SelectedOptimizer(parts, OPTIMIZERS[inner], rounding_seed=None), chosen, range(5))
    assert all(torch.equal(plain[name], chosen[name]) for name in plain)


@pytest.mark.parametrize("granularity", ["row", "head", "weight"])
def test_chosen_weights_follow_the_inner_optimizer(granularity):
    """AdamW works weight by weight: with the others' gradients gone, the chosen move as in it."""
    layouts, mask = random_mask(granularity, 0.5)
    marked = kept_weights(layouts, mask)
    plain, chosen = fresh(torch.float32), fresh(torch.float32)
    train_masked_by_hand(plain, marked, 5)
    parts = parts_of(chosen, layouts, mask)
    train(SelectedOptimizer(parts, OPTIMIZERS["adamw"], rounding_seed=None), chosen, range(5))
    for name, parameter in chosen.items():
        torch.testing.assert_close(parameter, plain[name])


def train_masked_by_hand(parameters, marked, num_steps):
    """AdamW on everything, with the masked gradients and then the masked weights put back."""
    optimizer = OPTIMIZERS["adamw"](parameters.values())
    start = {name: p.detach().clone() for name, p in parameters.items()}
    for step in range(num_steps):
        optimizer.zero_grad()
        loss_of(parameters, step).backward()
        for name, p in parameters.items():
            p.grad.mul_(marked[name])
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(torch.where(marked[name], p, start[name]))


def test_the_norm_that_is_clipped_is_that_of_the_chosen_units():
    layouts, mask = random_mask("row", 0.4)
    parameters = fresh(torch.float32)
    optimizer = SelectedOptimizer(
        parts_of(parameters, layouts, mask), OPTIMIZERS["adamw"], rounding_seed=None
    )
    loss_of(parameters, 0).backward()
    marked = kept_weights(layouts, mask)
    wanted = torch.cat([p.grad[marked[n]] for n, p in parameters.items()]).norm()
    optimizer.gather()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert torch.nn.utils.get_total_norm([p.grad for p in held]).item() == pytest.approx(
        wanted.item()
    )


def test_gradients_of_several_backward_passes_add_up():
    layouts, mask = random_mask("row", 0.5)
    twice, double = fresh(torch.float32), fresh(torch.float32)
    for parameters, passes, factor in ((twice, 2, 1.0), (double, 1, 2.0)):
        parts = parts_of(parameters, layouts, mask)
        optimizer = SelectedOptimizer(parts, OPTIMIZERS["momentum"], rounding_seed=None)
        for step in range(3):
            optimizer.zero_grad()
            for _ in range(passes):
                (factor * loss_of(parameters, step)).backward()
            optimizer.step()
    for name in twice:
        torch.testing.assert_close(twice[name], double[name])


def test_state_shrinks_to_the_chosen_weights():
    layouts, mask = random_mask("row", 0.4)
    parameters = fresh(torch.float32)
    optimizer = SelectedOptimizer(
        parts_of(parameters, layouts, mask), OPTIMIZERS["adamw"], rounding_seed=None
    )
    train(optimizer, parameters, range(1))
    held = sum(state["exp_avg"].numel() for state in optimizer.state.values())
    assert held == sum(int(marked.sum()) for marked in kept_weights(layouts, mask).values())
    assert optimizer.inner_name == "AdamW"


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_training_ends_with_the_same_bits(dtype, stochastic):
    rounding = 7 if stochastic and dtype == torch.bfloat16 else None
    layouts, mask = random_mask("row", 0.5)
    whole, cut = fresh(dtype), fresh(dtype)

    def make(parameters, chosen):
        parts = parts_of(parameters, layouts, chosen)
        return SelectedOptimizer(parts, OPTIMIZERS["adamw"], rounding_seed=rounding)

    train(make(whole, mask), whole, range(6))
    first = make(cut, mask)
    train(first, cut, range(3))
    saved = copy.deepcopy(first.state_dict())
    again = {n: torch.nn.Parameter(torch.zeros_like(p)) for n, p in cut.items()}
    other = {name: ~kept if kept.any() and not kept.all() else kept for name, kept in mask.items()}
    second = make(again, other)
    with torch.no_grad():
        for name, parameter in again.items():
            parameter.copy_(cut[name])
    second.load_state_dict(saved)
    train(second, again, range(3, 6))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_checkpoint_of_other_parameters_is_refused():
    layouts, mask = random_mask("row", 2.0)
    parameters = fresh(torch.float32)
    parts = parts_of(parameters, layouts, mask)
    optimizer = SelectedOptimizer(parts, OPTIMIZERS["adamw"], rounding_seed=None)
    fewer = {name: part for name, part in parts.items() if name != "c"}
    saved = SelectedOptimizer(fewer, OPTIMIZERS["adamw"], rounding_seed=None).state_dict()
    with pytest.raises(ValueError, match="holds other parameters: c"):
        optimizer.load_state_dict(saved)
    with pytest.raises(ValueError, match="nothing to optimize"):
        SelectedOptimizer({}, OPTIMIZERS["adamw"], rounding_seed=None)


def test_a_new_choice_starts_the_inner_optimizer_anew():
    """AdamW's first step is its learning rate: units chosen late must not be pushed further."""
    layouts, mask = random_mask("row", 0.5)
    parameters = fresh(torch.float32)
    make = functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.0)
    optimizer = SelectedOptimizer(parts_of(parameters, layouts, mask), make, rounding_seed=None)
    train(optimizer, parameters, range(50))
    optimizer.param_groups[0]["lr"] = 0.02
    changed = {name: ~kept for name, kept in mask.items()}
    optimizer.choose(parts_of(parameters, layouts, changed))
    assert optimizer.param_groups[0]["lr"] == 0.02
    before = copy.deepcopy(parameters)
    train(optimizer, parameters, [50])
    assert masked_bits_are_kept(before, parameters, layouts, changed)
    steps = [(before[n] - p).abs().max().item() for n, p in parameters.items()]
    assert max(steps) == pytest.approx(0.02, rel=1e-3)


def test_stochastic_rounding_holds_state_in_float32_and_lets_small_steps_move():
    """A step of 1/512 is a quarter of the spacing above 1."""
    moved = {}
    for rounding in (None, 3):
        weight = torch.nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
        parts = {"w": Part(parameter=weight, layout=layout("w", (4000,), "row", None), units=None)}
        make = functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9)
        optimizer = SelectedOptimizer(parts, make, rounding_seed=rounding)
        (-weight.float() * 2.0**-9).sum().backward()
        optimizer.step()
        moved[rounding] = (weight != 1).float().mean().item()
        dtype = torch.bfloat16 if rounding is None else torch.float32
        assert {s["momentum_buffer"].dtype for s in optimizer.state.values()} == {dtype}
    assert moved[None] == 0
    assert moved[3] == pytest.approx(0.25, abs=0.04)
