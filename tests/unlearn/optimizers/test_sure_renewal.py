"""SURE's further ways: a mask that is renewed in training, and gradients of several batches."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from unlearn_lab.data.batch import Collate, PairedOrder, PairedTexts, pad
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.objectives.forward import ModelForward
from unlearn_lab.unlearn.optimizers.mask import read_mask
from unlearn_lab.unlearn.optimizers.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.saliency_stage import first_epoch, forget_losses
from unlearn_lab.unlearn.optimizers.selected import SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.training.module import UnlearnModule

from .test_sure import (
    OBJECTIVE,
    assert_only_chosen_rows_moved,
    moved_rows,
    prepare,
    sure,
    train,
    weights,
)


def spied(monkeypatch):
    """The weights and units at every renewal."""
    seen = []
    choose_units = SelectedOptimizer.choose

    def choose(self, parts):
        choose_units(self, parts)
        units = {
            name: torch.arange(part.layout.num_units) if part.units is None else part.units
            for name, part in parts.items()
        }
        whole = {name: part.parameter.detach().clone() for name, part in parts.items()}
        seen.append((whole, units))

    monkeypatch.setattr(SelectedOptimizer, "choose", choose)
    return seen


@pytest.mark.parametrize("granularity", ["row", "matrix"])
def test_a_renewed_mask_ranks_the_units_at_the_weights_of_that_step(
    make_llama, sequences, tmp_path, monkeypatch, granularity
):
    seen = spied(monkeypatch)
    model = make_llama()
    rule = sure(refresh_steps=2, granularity=granularity)
    train(rule, model, sequences, tmp_path, epochs=4)
    assert len(seen) == 3, "before the steps 2, 4 and 6; there is none after the last"
    union = {name: torch.zeros_like(kept) for name, kept in read_mask(tmp_path).items()}
    first = make_llama()
    ranked(rule, first, sequences, union)
    for whole, units in seen:
        at_step = make_llama()
        at_step.load_state_dict(whole)
        wanted = ranked(rule, at_step, sequences, union)
        assert {name: found.tolist() for name, found in units.items()} == wanted
    assert all(torch.equal(union[name], kept) for name, kept in read_mask(tmp_path).items())


def ranked(rule, model, sequences, union):
    """The units that the forget gradient of this model chooses, added to `union`."""
    parameters = trained_parameters(model)
    layouts = layouts_of(model, parameters, rule.granularity, rule.modules)
    batches = first_epoch(len(sequences), 2, 0, None)
    losses = forget_losses(model, OBJECTIVE.forget, sequences, None, 0, batches)
    mask, _ = choose(unit_scores(mean_gradient(parameters, losses), layouts), rule.percentile)
    for name, kept in mask.items():
        union[name] |= kept
    return {name: kept.nonzero().squeeze(1).tolist() for name, kept in mask.items()}


def test_a_renewed_mask_lets_further_rows_move_and_says_so(make_llama, sequences, tmp_path):
    before = weights(make_llama())
    for refresh in (None, 2):
        model = make_llama()
        train(sure(refresh_steps=refresh), model, sequences, tmp_path / f"{refresh}", epochs=5)
        mask, rows = read_mask(tmp_path / f"{refresh}"), moved_rows(before, weights(model))
        assert not any((rows[name] & ~kept).any() for name, kept in mask.items())
    kept = [
        sum(int(part.sum()) for part in read_mask(tmp_path / f"{refresh}").values())
        for refresh in (None, 2)
    ]
    assert kept[1] > kept[0]


def test_a_renewing_rule_freezes_what_its_modules_leave_out(model, sequences, tmp_path):
    train(sure(refresh_steps=2, modules="mlp"), model, sequences, tmp_path, epochs=2)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("mlp" in name)
        assert "mlp" in name or parameter.grad is None


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*many workers", "ignore:.*srun")
@pytest.mark.parametrize("accumulate", [1, 3])
def test_under_accumulation_of_gradients(make_llama, sequences, tmp_path, accumulate):
    """Gradients of three batches make one step of the chosen rows."""
    model = make_llama()
    before = weights(model)
    prepared = prepare(sure(), model, sequences, tmp_path)
    module = UnlearnModule(model, OBJECTIVE, None, prepared.make, None, prepared.callbacks)
    texts = PairedTexts(dict.fromkeys(OBJECTIVE.roles, sequences))
    loader = DataLoader(
        texts,
        batch_size=1,
        sampler=PairedOrder([4, 4], 0, "reshuffled"),
        collate_fn=Collate(0, texts.roles),
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader)
    assert trainer.global_step == (12 if accumulate == 1 else 6)
    assert_only_chosen_rows_moved(before, model, tmp_path)
    by_hand = accumulated_by_hand(make_llama(), sequences, tmp_path, accumulate)
    after = weights(model)
    for name, value in by_hand.items():
        torch.testing.assert_close(after[name], value, rtol=1e-6, atol=1e-7)


def accumulated_by_hand(model, sequences, work, accumulate):
    """Three epochs of four batches; the gradients of up to `accumulate` of them make a step."""
    optimizer = prepare(sure(), model, sequences, work).make()
    order = PairedOrder([4, 4], 0, "reshuffled")
    for epoch in range(3):
        order.set_epoch(epoch)
        batches = [
            {
                role: pad([sequences[i]], [i], 0)
                for role, i in zip(OBJECTIVE.roles, pair, strict=True)
            }
            for pair in order
        ]
        for start in range(0, 4, accumulate):
            optimizer.zero_grad()
            for batch in batches[start : start + accumulate]:
                (OBJECTIVE(ModelForward(model, None), batch).total / accumulate).backward()
            optimizer.gather()
            held = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(held, 1.0)
            optimizer.step()
    return weights(model)
