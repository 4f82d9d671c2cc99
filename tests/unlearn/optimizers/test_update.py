"""The option `optimizer` is checked by building it, without what only trainings need."""

import inspect

import pytest
import torch
import torch._dynamo
from torch.optim import Optimizer

from unlearn_lab.config.build import Refused
from unlearn_lab.unlearn.optimizers.update import update_part

ADAMW = {"_target_": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 0.0}


def test_checking_an_optimizer_does_not_ask_torch_s_compiler(monkeypatch):
    """Its import takes a second, and planning imports nothing else of it."""
    plain = inspect.unwrap(Optimizer.add_param_group)
    before = vars(plain).pop("__dynamo_disable", None)
    monkeypatch.setattr(torch._dynamo, "disable", lambda *_, **__: pytest.fail("was asked"))
    assert update_part(ADAMW).value.lr == 1e-3
    with pytest.raises(Refused, match="weight_decay"):
        update_part(ADAMW | {"weight_decay": -1.0})
    assert not hasattr(plain, "__dynamo_disable")
    if before is not None:
        vars(plain)["__dynamo_disable"] = before
