"""Cached stages: what is computed, where its artifact lies and who is building it."""
