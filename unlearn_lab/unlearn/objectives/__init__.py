"""Objectives: loss terms of a batch, from the logits of the policy and the reference model."""
