"""Shows records: in the terminal, as an HTML page, in Weights & Biases."""
