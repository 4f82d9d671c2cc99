"""Quantizers: what rounding does to a model's weights."""
