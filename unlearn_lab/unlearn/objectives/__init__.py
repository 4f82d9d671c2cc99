"""Decides what unlearning minimises: loss terms of a batch from policy and reference outputs."""
