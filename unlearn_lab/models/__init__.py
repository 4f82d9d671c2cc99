"""Causal language models: loading, hidden states and the layers that quantizers touch."""
