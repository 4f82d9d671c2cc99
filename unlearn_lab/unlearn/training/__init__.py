"""The training loop: Lightning's Trainer, checkpoints, preemption, several processes, adapters."""
