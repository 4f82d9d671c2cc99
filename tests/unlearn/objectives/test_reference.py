"""The target's hidden states lie on disk, and are the same bits there."""

from pathlib import Path

import pytest
import torch

from unlearn_lab.data.batch import pad
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.causal_lm import hidden_states
from unlearn_lab.unlearn.objectives.forward import remember_reference


def remember(model, sequences, folder, batch_size=3):
    return remember_reference(
        model,
        {"forget": sequences, "retain": sequences},
        0,
        likelihood_of=("forget",),
        distribution_of=("retain",),
        batch_size=batch_size,
        folder=folder,
    )


def test_a_split_can_have_both_likelihoods_and_distributions(model, sequences, tokens, tmp_path):
    both = remember_reference(
        model,
        {"forget": sequences},
        0,
        likelihood_of=("forget",),
        distribution_of=("forget",),
        batch_size=3,
        folder=tmp_path,
    )
    apart = remember(model, sequences, tmp_path)
    assert torch.equal(
        both.log_likelihood("forget", tokens), apart.log_likelihood("forget", tokens)
    )
    assert torch.equal(both.hidden("forget", tokens), apart.hidden("retain", tokens))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pick", [[0], [3, 0, 2], [1, 1]])
def test_hidden_states_keep_their_bits(make_llama, sequences, tmp_path, dtype, pick):
    model = make_llama().to(dtype)
    reference = remember(model, sequences, tmp_path, batch_size=1)
    with torch.no_grad():
        wanted = [hidden_states(model, pad([sequences[i]], [i], 0)) for i in pick]
    found = reference.hidden("retain", pad([sequences[i] for i in pick], pick, 0))
    assert found.dtype == dtype
    assert torch.equal(found, torch.cat(wanted))


def test_they_are_in_the_dtype_of_the_arithmetic(make_llama, sequences, tokens, tmp_path):
    model = make_llama().to(torch.bfloat16)
    with training_arithmetic(model, "fp32"):
        found = remember(model, sequences, tmp_path).hidden("retain", tokens)
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_the_file_is_mapped_and_has_no_name(model, sequences, tokens, tmp_path):
    reference = remember(model, sequences, tmp_path)
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line for line in maps if str(tmp_path) in line]
    assert len(mapped) == 1
    assert "(deleted)" in mapped[0]
    reference.hidden("retain", tokens).zero_()
    assert reference.hidden("retain", tokens).any()
    del reference
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
