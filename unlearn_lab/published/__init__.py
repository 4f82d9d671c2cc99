"""Compares published numbers, with their sources, with the figures of our records."""
