"""log p(label) and its gradient: against autograd's derivative of the definition."""

import pytest
import torch

from unlearn_lab.unlearn.objectives.likelihood import (
    label_is_likeliest,
    token_kl,
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


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)],
)
def test_divergence_and_its_gradient_are_the_definition_s(dtype, tolerance):
    torch.manual_seed(0)
    reference, policy = ((3 * torch.randn(7, 31)).to(dtype) for _ in range(2))
    policy.requires_grad_()
    weights = torch.randn(7)
    found = token_kl(reference, policy)
    before, after = (logits.double().log_softmax(-1) for logits in (reference, policy))
    wanted = (before.exp() * (before - after)).sum(-1)
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=1e-6)
    (gradient,) = torch.autograd.grad((found * weights).sum(), policy)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), policy)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)
    assert token_kl(policy.detach(), policy).abs().max() < 1e-6


def test_divergence_s_gradient_by_finite_differences():
    torch.manual_seed(1)
    policy = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: token_kl(reference, logits), (policy,))


def test_losses_are_those_of_autograd_s_parts_within_a_millionth():
    """The value before sums were ordered differently: gather minus logsumexp; p (log p - log q)."""
    torch.manual_seed(2)
    reference, policy = (3 * torch.randn(512, 2048) for _ in range(2))
    labels = torch.randint(2048, (512,))
    plain = policy.gather(-1, labels[:, None]).squeeze(-1) - policy.logsumexp(-1)
    before, after = reference.log_softmax(-1), policy.log_softmax(-1)
    divergence = (before.exp() * (before - after)).sum(-1)
    near = {"rtol": 1e-6, "atol": 0}
    found = token_log_likelihood(policy, labels)
    torch.testing.assert_close(found.mean(), plain.mean(), **near)
    torch.testing.assert_close(token_kl(reference, policy).mean(), divergence.mean(), **near)
