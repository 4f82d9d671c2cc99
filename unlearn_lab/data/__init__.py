"""Decides what is forgotten, retained and scored: corpora, their checks, and training batches."""
