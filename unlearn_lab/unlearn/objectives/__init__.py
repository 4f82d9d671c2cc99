"""Objectives: loss terms of a batch, computed from the policy's and the reference model's logits."""
