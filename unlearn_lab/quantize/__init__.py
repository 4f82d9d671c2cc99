"""Decides how each quantizer rounds a model's weights, and what it reports about the rounding."""
