"""Checks that left padding in a batch does not change how a model continues a prompt."""

import copy
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel
from unlearn_lab.models.next_token import new_cache, next_logits, takes_cache

_LAYERS, _VOCABULARY, _SHORT, _LONG = 2, 64, 7, 12
_TOLERANCE = 1e-3


def require_padding(config: PretrainedConfig, *, trust_remote_code: bool) -> None:
    """Raises `ValueError` for an architecture whose output depends on left padding (RWKV).

    Its answers would depend on the other prompts of a batch. Checked on a model of two layers with
    random weights; the weights of the checkpoint are not read.
    """
    model = _small(config, trust_remote_code=trust_remote_code)
    draw = torch.Generator().manual_seed(0)
    short = torch.randint(3, _VOCABULARY, (1, _SHORT), generator=draw)
    long = torch.randint(3, _VOCABULARY, (1, _LONG), generator=draw)
    filled = torch.cat([torch.zeros(1, _LONG - _SHORT, dtype=torch.long), short], dim=1)
    mask = torch.ones(2, _LONG, dtype=torch.long)
    mask[0, : _LONG - _SHORT] = 0
    try:
        alone = _logits(model, short, torch.ones_like(short))[0]
        padded = _logits(model, torch.cat([filled, long]), mask)[0]
    except (AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{type(model).__name__} cannot continue a batch of prompts ({error}); use another "
            "architecture"
        ) from error
    if not torch.allclose(alone, padded, rtol=_TOLERANCE, atol=_TOLERANCE * float(alone.std())):
        raise ValueError(
            f"{type(model).__name__} continues a prompt differently when it is padded on the left "
            "beside a longer one, so answers in batches would be wrong; use an architecture that "
            "respects the attention mask"
        )


def _small(config: PretrainedConfig, *, trust_remote_code: bool) -> PreTrainedModel:
    """Builds a random model of the same sizes, except for the numbers of layers and tokens."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    layers = text.num_hidden_layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(cast("list[Any]", value)) == layers:
            setattr(text, name, value[:_LAYERS])
    text.num_hidden_layers = min(layers, _LAYERS)
    text.vocab_size = _VOCABULARY
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(
            small, dtype=torch.float32, trust_remote_code=trust_remote_code
        ).eval()


@torch.no_grad()
def _logits(model: PreTrainedModel, tokens: Tensor, mask: Tensor) -> Float[Tensor, "batch logits"]:
    """Returns the logits after the prompts and one further token, computed as in evaluation.

    Of a model without a cache of keys and values, those after the prompts.
    """
    if takes_cache(model):
        real, cache = mask.bool(), new_cache(model)
        first = next_logits(model, tokens, real, cache)
        real = torch.nn.functional.pad(real, (0, 1), value=True)
        second = next_logits(model, torch.full((len(tokens), 1), _SHORT), real, cache)
        return torch.cat([first, second], dim=1)
    model.generation_config = GenerationConfig()
    grown = cast("Any", model).generate(
        inputs=tokens,
        attention_mask=mask,
        generation_config=GenerationConfig(
            max_new_tokens=1,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        ),
    )
    return grown.logits[0]
