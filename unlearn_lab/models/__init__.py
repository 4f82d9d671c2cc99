"""Causal language models as the lab sees them: loading, hidden states and the layers that quantizers touch."""
