"""Jobs, sweeps and worker processes: from a checked request to its outcome."""
