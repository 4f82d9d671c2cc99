"""SURE as it runs: under Lightning, with clipping, accumulation and resume."""

import functools

import pytest
import torch

from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.objective import Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainNLL
from unlearn_lab.unlearn.optimizers.mask import read_mask
from unlearn_lab.unlearn.optimizers.saliency import mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.saliency_stage import first_epoch, forget_losses
from unlearn_lab.unlearn.optimizers.sure import SURE
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.optimizers.update import Training
from unlearn_lab.unlearn.training.fit import CHECKPOINT, Batches, Budget, fit
from unlearn_lab.unlearn.training.module import UnlearnModule

RUNTIME = Runtime("lab", "cpu", 1, "ddp", None, 512, False, 1e9, 1.0, 1.0, 1.0, False)
OBJECTIVE = Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=1.0))
ADAMW = functools.partial(torch.optim.AdamW, weight_decay=0.2)


def sure(**changed):
    settings = {
        "lr": 0.01,
        "inner": ADAMW,
        "percentile": 80.0,
        "granularity": "row",
        "modules": None,
        "batches": None,
        "refresh_steps": None,
    }
    return SURE(**settings | changed)


def prepare(rule, model, sequences, work, *, rounding_seed=None):
    work.mkdir(exist_ok=True)
    parameters = trained_parameters(model)
    layouts = layouts_of(model, parameters, rule.granularity, rule.modules)
    batches = first_epoch(len(sequences), 2, 0, rule.batches)
    losses = functools.partial(forget_losses, model, OBJECTIVE.forget, sequences, None, 0, batches)
    gradient = mean_gradient({name: parameters[name] for name in layouts}, losses())
    return rule.prepare(
        Training(
            model=model,
            parameters=parameters,
            scores=unit_scores(gradient, layouts),
            forget_losses=lambda num_batches: losses(),
            rounding_seed=rounding_seed,
            work=work,
        )
    )


def train(rule, model, sequences, work, *, epochs=3, rounding_seed=None, **changed):
    prepared = prepare(rule, model, sequences, work, rounding_seed=rounding_seed)
    module = UnlearnModule(model, OBJECTIVE, None, prepared.make, None, prepared.callbacks)
    settings = {
        "pad_id": 0,
        "batches": Batches(size=2, pairing="reshuffled", seed=0),
        "budget": Budget(steps=None, epochs=epochs, clip_norm=1.0),
        "should_stop": lambda epoch: None,
        "work": work,
        "runtime": RUNTIME,
    }
    return fit(module, dict.fromkeys(OBJECTIVE.roles, sequences), **settings | changed)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def moved_rows(before, after):
    """Which entries along the first axis of each parameter changed at all."""
    return {
        name: (before[name] != value).reshape(len(value), -1).any(1)
        for name, value in after.items()
    }


def assert_only_chosen_rows_moved(before, model, folder):
    mask = read_mask(folder)
    moved = moved_rows(before, weights(model))
    assert mask.keys() == moved.keys()
    for name, kept in mask.items():
        assert not (moved[name] & ~kept).any(), name
    chosen = torch.cat([moved[name][kept] for name, kept in mask.items()])
    assert chosen.float().mean() > 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rounding_seed", [None, 5])
def test_only_the_chosen_rows_move(make_llama, sequences, tmp_path, dtype, rounding_seed):
    """AdamW with weight decay, clipping, bfloat16 held as in training on a CPU."""
    model = make_llama().to(dtype)
    before = weights(model)
    rounding = rounding_seed if dtype == torch.bfloat16 else None
    with training_arithmetic(model, "fp32"):
        facts = train(sure(), model, sequences, tmp_path / "w", rounding_seed=rounding)
    assert_only_chosen_rows_moved(before, model, tmp_path / "w")
    mask = read_mask(tmp_path / "w")
    units = sum(kept.numel() for kept in mask.values())
    assert sum(int(kept.sum()) for kept in mask.values()) == units - -(-8 * (units - 1) // 10)
    assert facts["optimizer"] == "AdamW"
    state = {None: str(dtype).removeprefix("torch."), 5: "float32"}[rounding]
    assert facts["optimizer_state"] == state


def test_the_facts_tell_the_share_that_is_kept(model, sequences, tmp_path):
    prepared = prepare(sure(), model, sequences, tmp_path / "w")
    found, mask = prepared.facts["mask"], read_mask(tmp_path / "w")
    sizes = {name: p[0].numel() for name, p in model.named_parameters()}
    assert found["units"] == sum(kept.numel() for kept in mask.values())
    assert found["kept"] == pytest.approx(0.2, abs=2 / found["units"])
    kept = sum(sizes[name] * int(part.sum()) for name, part in mask.items())
    total = sum(p.numel() for p in model.parameters())
    assert found["kept_weights"] == pytest.approx(kept / total)
    assert found["threshold"] > 0
    optimizer = prepared.make()
    assert sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == kept


def test_percentile_0_is_the_inner_optimizer_itself(make_llama, sequences, tmp_path):
    plain, masked = make_llama(), make_llama()
    module = UnlearnModule(plain, OBJECTIVE, None, lambda: ADAMW(plain.parameters(), lr=0.01), None)
    settings = {
        "pad_id": 0,
        "batches": Batches(size=2, pairing="reshuffled", seed=0),
        "budget": Budget(steps=None, epochs=2, clip_norm=1.0),
        "should_stop": lambda epoch: None,
        "runtime": RUNTIME,
    }
    (tmp_path / "plain").mkdir()
    fit(
        module,
        dict.fromkeys(OBJECTIVE.roles, sequences),
        work=tmp_path / "plain",
        **settings,
    )
    train(sure(percentile=0.0), masked, sequences, tmp_path / "masked", epochs=2)
    wanted = weights(plain)
    assert all(torch.equal(wanted[name], value) for name, value in weights(masked).items())


class Interrupt(Exception):
    """Raised by a training that is to be resumed."""


@pytest.mark.parametrize(
    ("dtype", "refresh_steps"),
    [
        (torch.float32, 3),
        (torch.bfloat16, None),
        pytest.param(torch.float32, None, marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, 3, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(
    make_llama, sequences, tmp_path, dtype, refresh_steps
):
    rule = sure(refresh_steps=refresh_steps)
    whole, cut, fresh = (make_llama().to(dtype) for _ in range(3))
    before = weights(whole)
    train(rule, whole, sequences, tmp_path / "whole", epochs=6)
    saving = Runtime(**{**vars(RUNTIME), "checkpoint_seconds": 0.0})

    def interrupt(epoch):
        if epoch == 5:
            raise Interrupt

    with pytest.raises(Interrupt):
        train(
            rule,
            cut,
            sequences,
            tmp_path / "cut",
            epochs=6,
            runtime=saving,
            should_stop=interrupt,
        )
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    train(rule, fresh, sequences, tmp_path / "cut", epochs=6)
    wanted = weights(whole)
    assert all(torch.equal(wanted[name], value) for name, value in weights(fresh).items())
    if refresh_steps is None:
        assert_only_chosen_rows_moved(before, fresh, tmp_path / "cut")


def test_modules_restrict_what_takes_part(make_llama, sequences, tmp_path):
    model = make_llama()
    before = weights(model)
    train(sure(modules=r"mlp\.(up|down)"), model, sequences, tmp_path / "w")
    mask = read_mask(tmp_path / "w")
    assert len(mask) == 4
    assert all(".mlp.up" in name or ".mlp.down" in name for name in mask)
    rows = moved_rows(before, weights(model))
    assert not any(part.any() for name, part in rows.items() if name not in mask)


@pytest.mark.parametrize("granularity", ["matrix", "head", "weight"])
def test_other_granularities_train(make_llama, sequences, tmp_path, granularity):
    model = make_llama()
    before = weights(model)
    facts = train(sure(granularity=granularity), model, sequences, tmp_path / "w")
    after = weights(model)
    moved = sum(int((before[name] != value).sum()) for name, value in after.items())
    assert 0 < moved <= facts["trained_parameters"]
    if granularity == "weight":
        mask = read_mask(tmp_path / "w")
        for name, kept in mask.items():
            assert not ((before[name] != after[name]).flatten() & ~kept).any()


def test_a_few_batches_make_another_mask(model, sequences, tmp_path):
    prepare(sure(), model, sequences, tmp_path / "all")
    prepare(sure(batches=1), model, sequences, tmp_path / "one")
    one, other = read_mask(tmp_path / "all"), read_mask(tmp_path / "one")
    assert any(not torch.equal(one[name], other[name]) for name in one)
