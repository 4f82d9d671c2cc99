"""The models and texts of the quantizers' tests."""

from tests.quantize.conftest import model, sequences, tokenizer, wide

__all__ = ["model", "sequences", "tokenizer", "wide"]
