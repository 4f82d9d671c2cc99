"""Corpora to forget, and the batches made from them."""
