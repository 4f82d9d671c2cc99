"""Unlearning objectives and the training that applies them."""
