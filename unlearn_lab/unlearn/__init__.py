"""Decides how a model unlearns: objectives, optimizer rules and the training loop."""
