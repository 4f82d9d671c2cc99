"""Metrics of forgetting, and what quantization brings back."""
