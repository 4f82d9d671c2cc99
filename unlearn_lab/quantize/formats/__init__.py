"""File formats of quantized weights: compressed-tensors, GGUF, auto-gptq and autoawq."""
