"""The models and texts of the quantizers' tests."""

from tests.quantize.conftest import sequences, tokenizer, wide

__all__ = ["sequences", "tokenizer", "wide"]
