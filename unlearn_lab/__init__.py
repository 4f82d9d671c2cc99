"""Measures whether a language model has really forgotten, before and after quantization."""

__version__ = "0.1.0"
