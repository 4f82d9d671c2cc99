"""Decides how quantized weights are stored: compressed-tensors, GGUF, auto-gptq and autoawq."""
