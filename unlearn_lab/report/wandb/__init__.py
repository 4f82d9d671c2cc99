"""The Weights & Biases runs of results: what they hold and how they are sent."""
