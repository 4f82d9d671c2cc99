"""What SURE refuses: settings that are impossible, and what a model or a corpus does not have."""

import functools

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.optimizers.update import UpdateContext

from .test_sure import ADAMW, sure


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.0}, r"^lr=0\.0: must be above 0"),
        ({"percentile": 100.0}, r"^percentile=100\.0: must be at least 0 .* below 100"),
        ({"percentile": -1.0}, r"^percentile=-1\.0"),
        ({"batches": 0}, r"^batches=0: .*at least 1, or null"),
        ({"refresh_steps": 0}, r"^refresh_steps=0: .*at least 1, or null"),
        ({"modules": "("}, r"^modules=\(: .*valid regular expression"),
        ({"inner": functools.partial(ADAMW, lr=1.0)}, r"^inner\.lr=1\.0: set optimizer\.lr"),
        ({"inner": functools.partial(ADAMW, eps=-1.0)}, r"^inner: AdamW cannot be .*epsilon"),
        ({"inner": torch.optim.LBFGS}, r"^inner: LBFGS cannot be used: .*closure"),
        ({"inner": functools.partial(dict)}, r"^inner\._target_=.*dict.*must be an optimizer"),
    ],
)
def test_impossible_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        sure(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"modules": "conv"}, r"^modules=conv: matches no name .*trained parameter \(model\."),
        ({"batches": 9}, r"^batches=9: an epoch has 2 forget batches"),
    ],
)
def test_what_the_model_or_the_corpus_lack_is_refused(model, changed, message):
    request = UpdateContext(
        model=model, parameters=trained_parameters(model), num_batches=2, rounding="nearest"
    )
    with pytest.raises(ValueError, match=message):
        sure(**changed).require_fit(request)


def test_heads_are_refused_where_there_are_none(model):
    gpt = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, n_positions=8))
    with pytest.raises(ValueError, match="granularity=head: no attention projection"):
        layouts_of(gpt, trained_parameters(gpt), "head", None)
    assert layouts_of(gpt, trained_parameters(gpt), "row", None)
