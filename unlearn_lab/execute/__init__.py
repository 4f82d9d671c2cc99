"""Runs jobs, sweeps and worker processes: from a configuration to outcomes."""
