"""The numbers that papers published, with their sources, beside those of our records."""
