import json
import math

import pytest
import torch

from unlearn_lab.config.settings import Runtime
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.objective import Learning, LossTerms, Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainNLL
from unlearn_lab.unlearn.training.fit import CHECKPOINT, Batches, Budget, fit
from unlearn_lab.unlearn.training.module import Diverged, UnlearnModule, cosine_with_warmup
from unlearn_lab.unlearn.training.steps import STEPS, read_steps

RUNTIME = Runtime(
    home="lab",
    accelerator="cpu",
    devices=1,
    strategy="ddp",
    threads=None,
    batch_tokens=512,
    progress=False,
    checkpoint_seconds=1e9,
    claim_beat=1.0,
    claim_look=1.0,
    claim_silence=1.0,
    gradient_checkpointing=False,
)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)


def batches(size, seed=0):
    return Batches(size=size, pairing="reshuffled", seed=seed)


def train(model, sequences, work, *, objective=None, epochs=3, runtime=RUNTIME, **changed):
    objective = objective or Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=1.0))
    work.mkdir(exist_ok=True)
    settings = {
        "pad_id": 0,
        "batches": batches(2),
        "budget": Budget(steps=None, epochs=epochs, clip_norm=1.0),
        "should_stop": lambda epoch: None,
        "work": work,
        "runtime": runtime,
    }
    make = changed.pop("make", lambda: adamw(model.parameters()))
    module = UnlearnModule(model, objective, None, make, changed.pop("schedule", None))
    return fit(module, {role: sequences for role in objective.roles}, **settings | changed)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_trains_for_the_epochs_and_says_what_ran(model, sequences, tmp_path):
    before = weights(model)
    facts = train(model, sequences, tmp_path / "w")
    assert (facts["epochs"], facts["steps"], facts["stopped"]) == (3, 6, "end of the budget")
    assert (facts["batch"], facts["optimizer"], facts["optimizer_state"]) == (2, "AdamW", "float64")
    assert not torch.equal(before, weights(model))


def test_a_budget_of_steps(model, sequences, tmp_path):
    budget = Budget(steps=5, epochs=None, clip_norm=None)
    schedule = cosine_with_warmup(5, 2, 0.1)
    facts = train(
        model, sequences, tmp_path / "w", objective=Learning(), budget=budget, schedule=schedule
    )
    assert facts["steps"] == 5


def test_one_step_equals_plain_torch(make_llama, sequences, tmp_path):
    """Lightning adds nothing: loss, clipping and optimizer by hand give the same weights."""
    model, by_hand = make_llama(), make_llama()
    train(model, sequences, tmp_path / "w", objective=Learning(), batches=batches(4), epochs=1)
    losses = []
    for sequence in sequences:
        logs = by_hand(input_ids=sequence[None]).logits[0].log_softmax(-1)
        losses += [-logs[t, sequence[t + 1]] for t in range(len(sequence) - 1)]
    torch.stack(losses).mean().backward()
    torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
    adamw(by_hand.parameters()).step()
    torch.testing.assert_close(weights(model), weights(by_hand), rtol=1e-6, atol=1e-8)


def test_every_step_is_logged_once_with_terms_norm_and_accuracies(model, sequences, tmp_path):
    train(model, sequences, tmp_path / "w")
    rows = read_steps(tmp_path / "w")
    assert [row["step"] for row in rows] == list(range(6))
    names = {
        "step",
        "loss",
        "loss_forget",
        "loss_retain",
        "gradient_norm",
        "forget_accuracy",
        "retain_accuracy",
    }
    assert all(set(row) == names for row in rows)
    assert rows[0]["loss"] == pytest.approx(rows[0]["loss_forget"] + rows[0]["loss_retain"])


def test_steps_repeated_after_a_resume_count_once(tmp_path):
    lines = [
        {"step": 0, "loss": 1.0},
        {"step": 1, "loss": 2.0},
        {"step": 1, "loss": 3.0},
        {"step": 1, "norm": 4.0},
    ]
    (tmp_path / STEPS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_steps(tmp_path) == [{"step": 0, "loss": 1.0}, {"step": 1, "loss": 3.0, "norm": 4.0}]
    assert read_steps(tmp_path / "nowhere") == []


class Interrupt(Exception):
    """Raised by a training that is to be resumed."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_resumed_training_ends_with_the_same_bits(make_llama, sequences, tmp_path, dtype):
    whole, resumed = make_llama().to(dtype), make_llama().to(dtype)
    train(whole, sequences, tmp_path / "whole", epochs=6)
    saving = Runtime(**{**vars(RUNTIME), "checkpoint_seconds": 0.0})

    def interrupt(epoch):
        if epoch == 5:
            raise Interrupt

    with pytest.raises(Interrupt):
        train(resumed, sequences, tmp_path / "cut", epochs=6, runtime=saving, should_stop=interrupt)
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    fresh = make_llama(seed=9).to(dtype)
    facts = train(fresh, sequences, tmp_path / "cut", epochs=6)
    assert torch.equal(weights(whole), weights(fresh))
    assert (facts["epochs"], facts["steps"]) == (6, 12)
    assert [row["step"] for row in read_steps(tmp_path / "cut")] == list(range(12))
    assert not (tmp_path / "cut" / CHECKPOINT).exists()


def test_a_stop_rule_ends_the_training_and_is_named(model, sequences, tmp_path):
    facts = train(
        model,
        sequences,
        tmp_path / "w",
        epochs=9,
        should_stop=lambda epoch: "enough" if epoch == 2 else None,
    )
    assert (facts["epochs"], facts["stopped"]) == (2, "enough")


def test_training_repeats_exactly(make_llama, sequences, tmp_path):
    one, other, third = make_llama(), make_llama(), make_llama()
    train(one, sequences, tmp_path / "1")
    train(other, sequences, tmp_path / "2")
    train(third, sequences, tmp_path / "3", batches=batches(2, seed=1))
    assert torch.equal(weights(one), weights(other))
    assert not torch.equal(weights(one), weights(third))


class Exploding:
    """Fine for two steps, NaN in the third."""

    roles = ("forget",)
    likelihood_of = distribution_of = ()

    def __init__(self):
        self.steps = 0

    def __call__(self, forward, batch):
        self.steps += 1
        loss = -forward.policy(batch["forget"]).token_log_likelihood().mean()
        bad = loss * (math.nan if self.steps == 3 else 1.0)
        return LossTerms(loss + bad, {"good": loss, "bad": bad})


def test_nan_fails_with_step_term_and_last_good_values(model, sequences, tmp_path):
    with pytest.raises(
        Diverged,
        match=r"^loss_bad became nan at step 2; last good values: loss_good=.*optimizer\.lr",
    ):
        train(model, sequences, tmp_path / "w", objective=Exploding())


def test_a_model_that_was_never_finite_is_not_blamed_on_the_learning_rate(
    model, sequences, tmp_path
):
    with torch.no_grad():
        next(model.parameters())[:, 0] = math.nan
    with pytest.raises(Diverged, match=r"^loss.* nan at step 0; .*none.* Nothing was trained"):
        train(model, sequences, tmp_path / "w")


def test_steps_logged_after_the_checkpoint_and_a_torn_line_are_logged_once(
    model, sequences, tmp_path
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, sequences, whole)
    model.load_state_dict(start)
    cut.mkdir()
    (cut / STEPS).write_text('{"step": 0, "loss": 9.0}\n{"step": 1, "lo')
    train(model, sequences, cut)
    assert (cut / STEPS).read_text() == (whole / STEPS).read_text()


def test_an_infinite_gradient_fails_too(model, sequences, tmp_path):
    class Kink:
        roles = ("forget",)
        likelihood_of = distribution_of = ()

        def __call__(self, forward, batch):
            total = (
                (forward.policy(batch["forget"]).token_log_likelihood().sum() * 0)
                .clamp(min=0)
                .sqrt()
            )
            return LossTerms(total, {"forget": total})

    with pytest.raises(Diverged, match="gradient_norm became"):
        train(model, sequences, tmp_path / "w", objective=Kink())


def test_a_batch_larger_than_the_set_is_refused(model, sequences, tmp_path):
    with pytest.raises(ValueError, match=r"batch_size=5: .*forget split .*only 4 sequences"):
        train(model, sequences, tmp_path / "w", batches=batches(5))


def test_the_schedule_warms_up_and_falls_to_its_floor():
    factor = cosine_with_warmup(100, 4, 0.1)
    assert [factor(step) for step in (0, 1, 3)] == pytest.approx([0.25, 0.5, 1.0], abs=1e-2)
    assert factor(50) == pytest.approx(0.55)
    assert factor(100) == factor(200) == pytest.approx(0.1)
