"""Sends results to Weights & Biases: what a run contains, and how it is uploaded."""
