"""The record: one flat row per result, and what its figures mean."""
