"""Decides how gradients change weights: update rules, SURE's saliency mask, rounding to bf16."""
