"""Trainings of each kind that a signal cuts off; run as a module, in a process of their own."""

import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from lightning.pytorch import Callback

from tests.unlearn.conftest import VOCABULARY, random_llama
from tests.unlearn.optimizers.test_sure import OBJECTIVE, RUNTIME, prepare, sure
from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.optimizers.update import Prepared
from unlearn_lab.unlearn.training.fit import Batches, Budget, fit
from unlearn_lab.unlearn.training.lora import LoRA
from unlearn_lab.unlearn.training.module import UnlearnModule, cosine_with_warmup

KINDS = ("adamw", "sure", "lora")
STEPS_OF_AN_EPOCH = 4


class Cut(Callback):
    """Does something in the middle of a step."""

    def __init__(self, step, action):
        self._step, self._action = step, action

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step == self._step:
            self._action()


class Slow(Callback):
    """Gives somebody else the time to send a signal."""

    def on_before_backward(self, trainer, pl_module, loss):
        time.sleep(0.1)


def send(*numbers):
    def action():
        for number in numbers:
            os.kill(os.getpid(), number)

    return action


def texts():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in (7, 4, 9, 5)]


def prepared(kind, model, work):
    """The optimizer of each kind, and its callbacks."""
    if kind == "sure":
        return prepare(sure(refresh_steps=3), model, texts(), work, rounding_seed=5)
    if kind == "lora":
        LoRA(rank=3, alpha=6.0, dropout=0.3, modules=None).inject(model, seed=0)
    parameters = list(trained_parameters(model).values())
    return Prepared(make=lambda: torch.optim.AdamW(parameters, lr=1e-2), callbacks=(), facts={})


def train(kind, work, *callbacks, stop=lambda epoch: None, epochs=3, **runtime):
    """Trains or goes on; returns what ran, the figures of the rule, and the weights.

    AdamW has a budget of steps, the last of them in mid-epoch, and a schedule; SURE renews its mask
    within epochs and rounds stochastically; LoRA has dropout.
    """
    work.mkdir(exist_ok=True)
    model = random_llama().to({"sure": torch.bfloat16}.get(kind, torch.float32)).train()
    ready = prepared(kind, model, work)
    by_steps = kind == "adamw"
    schedule = cosine_with_warmup(10, 2, 0.1) if by_steps else None
    module = UnlearnModule(
        model, OBJECTIVE, None, ready.make, schedule, (*ready.callbacks, *callbacks)
    )
    with training_arithmetic(model, "fp32") if kind == "sure" else nullcontext():
        facts = fit(
            module,
            dict.fromkeys(OBJECTIVE.roles, texts()),
            pad_id=0,
            batches=Batches(size=1, pairing="reshuffled", seed=3),
            budget=Budget(
                steps=10 if by_steps else None, epochs=None if by_steps else epochs, clip_norm=1.0
            ),
            should_stop=stop,
            work=work,
            runtime=Runtime(**{**vars(RUNTIME), **runtime}),
        )
    return facts, ready.facts, {name: p.detach().clone() for name, p in model.named_parameters()}


def main(kind, folder):
    """A training that somebody else sends signals to; its weights and figures, if it ends."""
    torch.set_num_threads(1)

    def requeue(number, frame):
        (folder / "requeued").write_text(signal.Signals(number).name)
        sys.exit(7)

    signal.signal(signal.SIGUSR2, requeue)
    torch.save(train(kind, folder / "work", Slow()), folder / "end.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
