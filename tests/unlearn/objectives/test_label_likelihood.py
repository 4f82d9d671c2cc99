"""log p(label) and its gradient: against autograd's derivative of the definition."""

import pytest
import torch

from unlearn_lab.unlearn.objectives.likelihood import (
    label_is_likeliest,
    token_log_likelihood,
)


def definition(logits, labels):
    wide = logits.double()
    return wide.gather(-1, labels[:, None]).squeeze(-1) - torch.logsumexp(wide, dim=-1)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)],
)
def test_value_and_gradient_are_the_definition_s(dtype, tolerance):
    torch.manual_seed(0)
    logits = (3 * torch.randn(7, 31)).to(dtype).requires_grad_()
    labels, weights = torch.randint(31, (7,)), torch.randn(7)
    found = token_log_likelihood(logits, labels)
    wanted = definition(logits, labels)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=1e-6)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), logits)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)


def test_gradient_by_finite_differences():
    torch.manual_seed(1)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(token_log_likelihood, (logits, torch.tensor([0, 4, 2])))


def test_a_second_backward_pass_of_a_kept_graph_gives_the_same():
    logits = torch.randn(3, 5, requires_grad=True)
    found = token_log_likelihood(logits, torch.tensor([0, 4, 2])).sum()
    (first,) = torch.autograd.grad(found, logits, retain_graph=True)
    (second,) = torch.autograd.grad(found, logits)
    assert torch.equal(first, second)


def test_large_logits_neither_overflow_nor_underflow():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    found = token_log_likelihood(logits, torch.tensor([1]))
    assert found.item() == -2e4
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.tolist() == [[-1.0, 1.0, 0.0]]


def test_a_label_that_ties_is_likeliest():
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    assert label_is_likeliest(logits, torch.tensor([1, 2])).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_not_a_bit_differs_from_autograd_s_derivative(dtype):
    """So figures that were measured with the derivatives of gather and logsumexp stay."""
    torch.manual_seed(2)
    logits = (3 * torch.randn(64, 301)).to(dtype).requires_grad_()
    labels, weights = torch.randint(301, (64,)), torch.randn(64)
    wide = logits if dtype == torch.float64 else logits.float()
    plain = wide.gather(-1, labels[:, None]).squeeze(-1) - torch.logsumexp(wide, dim=-1)
    found = token_log_likelihood(logits, labels)
    assert torch.equal(found, plain)
    gradients = [torch.autograd.grad((one * weights).sum(), logits)[0] for one in (found, plain)]
    assert torch.equal(*gradients)
