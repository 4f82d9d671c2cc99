"""Measurements, run by `make bench`; their results stand in RESULTS.md."""
