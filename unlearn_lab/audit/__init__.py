"""Judges models that were unlearned elsewhere, as a page, a document and an exit status."""
