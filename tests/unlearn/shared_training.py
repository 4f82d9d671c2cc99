"""Short trainings of a tiny Llama: run by torchrun on two processes, or called in one.

Seven sequences in batches of three: two processes never have equal shares, and of the last batch
the second has nothing.
"""

import functools
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from tests.unlearn.conftest import VOCABULARY, random_llama
from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.device import device_of
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.objectives.forward import remember_reference
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.npo import NPO, NPOLogits
from unlearn_lab.unlearn.objectives.objective import Learning, Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainKL, RetainNLL
from unlearn_lab.unlearn.optimizers.saliency import mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.saliency_stage import first_epoch, forget_losses
from unlearn_lab.unlearn.optimizers.sure import SURE
from unlearn_lab.unlearn.optimizers.sure_released import SUREReleased
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.optimizers.update import FullUpdate, Training
from unlearn_lab.unlearn.ranks import is_first, joined, rank, require_equal
from unlearn_lab.unlearn.training.fit import CHECKPOINT, Batches, Budget, fit
from unlearn_lab.unlearn.training.lora import LoRA
from unlearn_lab.unlearn.training.module import UnlearnModule

ADAMW = functools.partial(torch.optim.AdamW, weight_decay=0.1)
PLAIN = FullUpdate(lr=0.01, make=functools.partial(ADAMW, lr=0.01))
RUNTIME = Runtime("lab", "cpu", 1, "ddp", 1, 512, False, 1e9, 1.0, 1.0, 1.0, False)
GA_GDR = Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=1.0))


def kl(variant, weight=1.0):
    return RetainKL(weight=weight, variant=variant)


def sure(**changed):
    settings = {"lr": 0.01, "inner": ADAMW, "percentile": 80.0, "granularity": "row"}
    return SURE(**settings, modules=None, batches=None, refresh_steps=None, **changed)


def no_stop(epoch):
    return None


def first_wants_to_stop(epoch):
    """A rule on which the processes disagree: the first says to end after two epochs."""
    return "the first says so" if epoch == 2 and rank() == 0 else None


@dataclass(frozen=True)
class Case:
    objective: object = GA_GDR
    rule: object = PLAIN
    dtype: torch.dtype = torch.float64
    rounding_seed: int | None = None
    adapter: LoRA | None = None
    should_stop: object = no_stop
    interrupt: bool = False
    micro_batch: int | None = None


CASES = {
    "ga": Case(Unlearning(forget=GradientAscent(), retain=None)),
    "ga_gdr": Case(),
    "npo_klr": Case(Unlearning(forget=NPO(beta=0.1), retain=kl("divergence"))),
    "npo_token_sum": Case(Unlearning(forget=NPO(beta=0.1), retain=kl("token_sum", 0.01))),
    "npo_muse_raw_logits": Case(Unlearning(forget=NPOLogits(beta=0.1), retain=kl("raw_logits"))),
    "learning": Case(Learning()),
    "stop": Case(should_stop=first_wants_to_stop),
    "resumed": Case(interrupt=True),
    "sure": Case(rule=sure()),
    "sure_renewed": Case(rule=replace(sure(), refresh_steps=2)),
    "released": Case(rule=SUREReleased(lr=0.01, inner=ADAMW, percentile=80.0, masked=False)),
    "released_masked": Case(rule=SUREReleased(lr=0.01, inner=ADAMW, percentile=80.0, masked=True)),
    "bf16": Case(dtype=torch.bfloat16),
    "bf16_sr": Case(dtype=torch.bfloat16, rounding_seed=3),
    "parts": Case(
        Unlearning(forget=NPO(beta=0.1), retain=kl("token_sum", 0.01)), sure(), micro_batch=1
    ),
    "lora": Case(dtype=torch.float32, adapter=LoRA(rank=3, alpha=6.0, dropout=0.0, modules=None)),
}


class Interrupted(Exception):
    """Raised in the second epoch by a training that is to be resumed."""


def texts():
    generator = torch.Generator().manual_seed(1)
    lengths = (7, 4, 9, 5, 11, 3, 6)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in lengths]


def train(case, work, runtime=RUNTIME):
    """Trains one case and leaves its weights and facts in `work`."""
    work.mkdir(exist_ok=True, parents=True)
    sharded = set()
    model, sequences = random_llama().to(case.dtype), texts()

    def observed(epoch):
        sharded.update(isinstance(parameter, DTensor) for parameter in model.parameters())
        return case.should_stop(epoch)

    adapters = None if case.adapter is None else case.adapter.inject(model, 0)
    torch.nn.Module.to(model, device_of(runtime.accelerator))
    objective, splits = case.objective, dict.fromkeys(case.objective.roles, sequences)
    with training_arithmetic(model, "fp32"):
        reference = remember_reference(
            model,
            splits,
            0,
            likelihood_of=objective.likelihood_of,
            distribution_of=objective.distribution_of,
            batch_size=case.micro_batch or 3,
            folder=work,
        )
        prepared = prepare(case, model, sequences, reference, work)
        module = UnlearnModule(
            model.train(),
            objective,
            reference,
            prepared.make,
            None,
            prepared.callbacks,
            case.micro_batch,
        )
        facts = fit(
            module,
            splits,
            pad_id=0,
            batches=Batches(size=3, pairing="reshuffled", seed=0),
            budget=Budget(steps=None, epochs=3, clip_norm=1.0),
            should_stop=observed,
            work=work,
            runtime=runtime,
        )
    facts |= {} if adapters is None else adapters.merge()["adapter"]
    keep(model, facts | {"sharded": sharded == {True}}, work)


def keep(model, facts, work):
    require_equal(dict(model.named_parameters()))
    if is_first():
        held = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
        save_file(held, work / "w")
        (work / "facts.json").write_text(json.dumps(facts))


def prepare(case, model, sequences, reference, work):
    parameters = trained_parameters(model)
    forget = getattr(case.objective, "forget", None)
    batches = first_epoch(len(sequences), 3, 0, None)

    def losses(num_batches=None):
        return forget_losses(model, forget, sequences, reference, 0, batches, case.micro_batch)

    scores = None
    if isinstance(case.rule, SURE):
        layouts = layouts_of(model, parameters, "row", None)
        gradient = mean_gradient({name: parameters[name] for name in layouts}, losses())
        scores = unit_scores(gradient, layouts)
    return case.rule.prepare(
        Training(
            model=model,
            parameters=parameters,
            scores=scores,
            forget_losses=losses,
            rounding_seed=case.rounding_seed,
            work=work,
        )
    )


def run(name, folder, runtime=RUNTIME):
    """One case; an interrupted one is begun, cut off in its second epoch, and resumed."""
    case, work = CASES[name], folder / name
    if case.interrupt:

        def cut(epoch):
            if epoch == 2:
                raise Interrupted
            return None

        saving = Runtime(**asdict(runtime) | {"checkpoint_seconds": 0.0})
        try:
            train(replace(case, should_stop=cut), work, saving)
        except Interrupted:
            found = SimpleNamespace(checkpoint=(work / CHECKPOINT).exists())
            assert found.checkpoint
    train(case, work, runtime)


def main(folder, accelerator, names):
    two = asdict(RUNTIME) | {"devices": 2, "accelerator": accelerator}
    with joined(Runtime(**two)):
        for strategy, name in (given.split("/") for given in names):
            runtime = Runtime(**two | {"strategy": strategy})
            run(name, folder / strategy, runtime)


def run_rank(number, port, folder, names):
    """One of two processes, as torchrun starts it; its errors go to a file of `folder`."""
    os.dup2(os.open(folder / f"err{number}", os.O_WRONLY | os.O_CREAT), 2)
    own = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in own.items()}, MASTER_ADDR="127.0.0.1")
    main(folder, "cpu", names)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
