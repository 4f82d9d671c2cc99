"""Renders report.html: one self-contained page with its plots."""
