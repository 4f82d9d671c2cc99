import pytest
import torch

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.tiny import TinyLlama


def tiny(**changed):
    settings = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_layers": 2,
        "num_heads": 2,
        "max_positions": 64,
        "tail_freedom": 1.5,
        "tail_scale": 0.02,
        "tail_clip": 10.0,
    }
    return TinyLlama(**settings | changed)


@pytest.fixture
def corpus():
    names = (
        "verbatim",
        "forget_questions",
        "forget_examples",
        "retain_questions",
        "retain_examples",
    )
    empty = dict.fromkeys((*names, "forget_documents", "holdout_documents"), ())
    return Corpus(forget=("Größe matters.",), retain=("So does form.",), **empty)


def test_it_writes_a_checkpoint_that_transformers_loads(corpus, tmp_path):
    facts = tiny().write_base(tmp_path, corpus, 0)
    model, tokenizer = load_model(tmp_path, "fp32"), load_tokenizer(tmp_path)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    text = "Größe matters, and so does 😀."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (
        "<pad>",
        "<s>",
        "</s>",
    )


def test_the_tails_are_heavy_clipped_and_only_inside_the_blocks(corpus, tmp_path):
    """A Gaussian row of 32 has an absmax of about 2 deviations; these have far more."""
    tiny().write_base(tmp_path, corpus, 0)
    model = load_model(tmp_path, "fp32")
    weights = torch.cat(
        [linear.weight.detach().flatten() for linear in block_linears(model).values()]
    )
    assert weights.abs().max() == pytest.approx(0.2)
    assert weights.abs().max() / weights.abs().median() > 6
    assert model.lm_head.weight.abs().max() < 0.12


def test_the_seed_decides_and_the_global_generator_is_left_alone(corpus, tmp_path):
    state = torch.random.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tiny().write_base(tmp_path / name, corpus, seed)
    assert torch.equal(state, torch.random.get_rng_state())
    one, other, third = (
        load_model(tmp_path / name, "fp32").model.layers[0].mlp.up_proj.weight for name in "abc"
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": 33}, r"hidden_size=33: .*multiple of num_heads=2"),
        ({"vocab_size": 100}, r"vocab_size=100: must be at least 300"),
    ],
)
def test_impossible_sizes_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changed)
