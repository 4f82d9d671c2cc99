"""Decides how forgetting and utility are scored, and how much forgetting quantization reverses."""
