"""Decides how causal language models are loaded and checked, and which layers are quantized."""
