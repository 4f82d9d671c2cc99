"""Logit error by hand, and over which text."""

import pytest
import torch

from unlearn_lab.evaluate.logits import NUM_TEXTS, NUM_TOKENS, holdout_logits, logit_error
from unlearn_lab.models.load import load_model, load_tokenizer


def test_by_hand():
    """||(1, 0) - (1, 2)|| = 2 over ||(1, 2, 2, 0)|| = 3, over both texts together."""
    full = [torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 0.0]])]
    quantized = [torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]])]
    assert logit_error(quantized, full) == pytest.approx(2 / 3)
    assert logit_error(full, full) == 0


def test_without_text_there_is_no_error():
    assert logit_error([], []) is None


def test_without_holdout_documents_there_are_no_logits(checkpoint):
    model, tokenizer = load_model(checkpoint, "fp32"), load_tokenizer(checkpoint)
    assert holdout_logits(model, tokenizer, ()) == []


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"logits .*NaN .*holdout"):
        logit_error([torch.tensor([[torch.nan]])], [torch.ones(1, 1)])


def test_only_the_beginnings_of_the_first_documents_are_looked_at(checkpoint):
    model, tokenizer = load_model(checkpoint, "fp32"), load_tokenizer(checkpoint)
    model.config.max_position_embeddings = 4 * NUM_TOKENS
    long = " ".join(["w3 w4"] * NUM_TOKENS)
    found = holdout_logits(model, tokenizer, ["w2", *[long] * NUM_TEXTS, "w5"])
    assert len(found) == NUM_TEXTS
    assert found[0].shape == (3, 20)  # BOS, the word, EOS
    assert found[1].shape == (NUM_TOKENS, 20)
    whole = model(torch.tensor([[0, 2, 1]])).logits[0]
    torch.testing.assert_close(found[0], whole.detach())
