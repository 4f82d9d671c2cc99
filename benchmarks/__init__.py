"""Measurements, run by `make bench`; RESULTS.md has the results."""
