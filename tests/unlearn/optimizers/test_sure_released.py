"""The released form of SURE against its steps written out by hand."""

import copy
import functools

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from unlearn_lab.data.batch import Collate, PairedTexts, pad
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.objectives.forward import ModelForward
from unlearn_lab.unlearn.optimizers.sure_released import SUREReleased
from unlearn_lab.unlearn.optimizers.update import Training, UpdateContext
from unlearn_lab.unlearn.training.module import UnlearnModule

from .test_sure import OBJECTIVE, RUNTIME, Batches, Budget, fit, weights

ADAMW = functools.partial(torch.optim.AdamW, weight_decay=0.2)


def released(**changed):
    return SUREReleased(
        **{"lr": 0.01, "inner": ADAMW, "percentile": 80.0, "masked": True} | changed
    )


def training_of(model, work):
    return Training(
        model=model,
        parameters=trained_parameters(model),
        scores=None,
        forget_losses=lambda num_batches: iter(()),
        rounding_seed=None,
        work=work,
    )


def train(rule, model, sequences, work, num_steps):
    work.mkdir()
    prepared = rule.prepare(training_of(model, work))
    module = UnlearnModule(model, OBJECTIVE, None, prepared.make, None, prepared.callbacks)
    return fit(
        module,
        dict.fromkeys(OBJECTIVE.roles, sequences),
        pad_id=0,
        batches=Batches(size=4, pairing="reshuffled", seed=0),
        budget=Budget(steps=None, epochs=num_steps, clip_norm=1.0),
        should_stop=lambda epoch: None,
        work=work,
        runtime=RUNTIME,
    )


def by_hand(model, sequences, num_steps, *, masked):
    """Forget gradient, mask from it, the objective's gradient on top, clip, mask, AdamW."""
    optimizer = ADAMW(model.parameters(), lr=0.01)
    batch = dict.fromkeys(OBJECTIVE.roles, pad(sequences, range(4), 0))
    for _ in range(num_steps):
        optimizer.zero_grad()
        OBJECTIVE.forget(ModelForward(model, None), batch["forget"]).backward()
        norms = {
            name: p.grad.reshape(len(p), -1).norm(dim=1).numpy()
            for name, p in model.named_parameters()
        }
        gamma = np.percentile(np.concatenate(list(norms.values())), 80.0)
        OBJECTIVE(ModelForward(model, None), batch).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for name, p in model.named_parameters():
            kept = torch.tensor(norms[name] >= gamma)
            if masked:
                p.grad.mul_(kept.to(p.dtype).view(-1, *[1] * (p.dim() - 1)))
        optimizer.step()


@pytest.mark.parametrize("masked", [False, True])
def test_it_does_what_the_released_code_does(make_llama, sequences, tmp_path, masked):
    model, other = make_llama(), make_llama()
    facts = train(released(masked=masked), model, sequences, tmp_path / "w", 3)
    by_hand(other, sequences, 3, masked=masked)
    wanted = weights(other)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)
    assert facts["optimizer"] == "AdamW"


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers")
def test_of_accumulated_gradients_only_the_last_is_left(make_llama, sequences, tmp_path):
    """Two batches a step: the second's forget gradient, and its objective's by Lightning's half."""
    model, other = make_llama(), make_llama()
    rule = released(masked=False)
    prepared = rule.prepare(training_of(model, tmp_path))
    module = UnlearnModule(model, OBJECTIVE, None, prepared.make, None, prepared.callbacks)
    loader = DataLoader(
        PairedTexts(dict.fromkeys(OBJECTIVE.roles, sequences)),
        batch_size=2,
        sampler=[(i, i) for i in range(4)],
        collate_fn=Collate(0, OBJECTIVE.roles),
    )
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, loader)
    optimizer = ADAMW(other.parameters(), lr=0.01)
    batch = dict.fromkeys(OBJECTIVE.roles, pad(sequences[2:], [2, 3], 0))
    OBJECTIVE.forget(ModelForward(other, None), batch["forget"]).backward()
    (OBJECTIVE(ModelForward(other, None), batch).total / 2).backward()
    optimizer.step()
    wanted = weights(other)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)


def test_its_mask_does_not_hold_masked_rows_still(make_llama, sequences, tmp_path):
    """Weight decay goes on: what `sure.SURE` promises is not kept by the released form."""
    model = make_llama()
    before = copy.deepcopy(weights(model))
    train(released(), model, sequences, tmp_path / "w", 1)
    assert all(not torch.equal(before[name], value) for name, value in weights(model).items())


def test_what_it_cannot_do_is_refused(model):
    request = UpdateContext(
        model=model, parameters=trained_parameters(model), num_batches=2, rounding="stochastic"
    )
    with pytest.raises(ValueError, match="not stochastic"):
        released().require_fit(request)
    with pytest.raises(ValueError, match=r"^percentile=100\.0"):
        released(percentile=100.0)
    with pytest.raises(ValueError, match=r"^lr=-1\.0"):
        released(lr=-1.0)
    with pytest.raises(ValueError, match=r"^inner\.lr=1\.0"):
        released(inner=functools.partial(ADAMW, lr=1.0))
