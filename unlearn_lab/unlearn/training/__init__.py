"""Decides how a training runs: Lightning's Trainer, checkpoints, preemption, ranks, adapters."""
