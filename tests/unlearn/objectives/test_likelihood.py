import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.unlearn.objectives.likelihood import (
    npo_loss,
    sequence_sum,
    token_kl,
    token_log_likelihood,
)

F64 = torch.float64


def test_token_log_likelihood_by_hand():
    """logits ln 1, ln 2, ln 5: probabilities 1/8, 2/8, 5/8."""
    logits = torch.tensor([[1.0, 2.0, 5.0]] * 2, dtype=F64).log()
    found = token_log_likelihood(logits, torch.tensor([1, 2]))
    assert found.tolist() == pytest.approx([math.log(2 / 8), math.log(5 / 8)], abs=1e-12)


def test_bfloat16_logits_are_scored_in_float32():
    logits = torch.randn(3, 5).bfloat16()
    found = token_log_likelihood(logits, torch.tensor([0, 1, 2]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logits.float().log_softmax(-1).diagonal()[:3])


def test_token_kl_by_hand():
    """p = (1/4, 3/4), q = (1/2, 1/2): KL = 1/4 ln 1/2 + 3/4 ln 3/2."""
    p = torch.tensor([[1.0, 3.0]], dtype=F64).log()
    q = torch.tensor([[7.0, 7.0]], dtype=F64).log()
    assert token_kl(p, q).item() == pytest.approx(
        0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-12
    )


@given(
    st.lists(st.floats(-9, 9), min_size=3, max_size=3),
    st.lists(st.floats(-9, 9), min_size=3, max_size=3),
)
def test_kl_is_zero_for_equal_distributions_and_never_negative(p, q):
    one, other = torch.tensor([p], dtype=F64), torch.tensor([q], dtype=F64)
    assert token_kl(one, one + 3).item() == pytest.approx(0, abs=1e-12)
    assert token_kl(one, other).item() >= -1e-12


def test_kl_is_from_the_reference_to_the_policy():
    """Forward KL punishes a policy that drops what the reference finds likely, not the reverse."""
    sure, unsure = torch.tensor([[9.0, 0.0]], dtype=F64), torch.tensor([[0.0, 0.0]], dtype=F64)
    assert token_kl(unsure, sure).item() > 3 > token_kl(sure, unsure).item()


def test_sequence_sums_follow_the_row_major_order():
    predicted = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    assert sequence_sum(torch.tensor([1.0, 2.0, 4.0, 8.0]), predicted).tolist() == [3, 0, 12]


def test_npo_by_hand():
    """beta = 1/2, ratios ln 3 and 0: -(4) mean(log 1/(1 + 3^(1/2)), log 1/2)."""
    found = npo_loss(torch.tensor([math.log(3), 0.0], dtype=F64), torch.zeros(2, dtype=F64), 0.5)
    assert found.item() == pytest.approx(2 * (math.log(1 + math.sqrt(3)) + math.log(2)), abs=1e-12)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.05, 2))
def test_the_gradient_of_npo_is_the_published_weight(policy, reference, beta):
    """d loss / d log pi = 2 p^beta / (p^beta + ref^beta) (arXiv 2404.05868, Eq. 4)."""
    log_p = torch.tensor([policy], dtype=F64, requires_grad=True)
    npo_loss(log_p, torch.tensor([reference], dtype=F64), beta).backward()
    assert log_p.grad is not None
    p, ref = math.exp(policy * beta), math.exp(reference * beta)
    assert log_p.grad.item() == pytest.approx(2 * p / (p + ref), rel=1e-9)


def test_npo_tends_to_gradient_ascent_on_sequence_sums_as_beta_goes_to_zero():
    log_p = torch.tensor([-3.0, -70.0], dtype=F64, requires_grad=True)
    npo_loss(log_p, torch.tensor([-1.0, -2.0], dtype=F64), 1e-7).backward()
    assert log_p.grad is not None
    assert log_p.grad.tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
