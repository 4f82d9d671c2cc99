"""The cache command: lists, measures, prunes, verifies and exports artifacts."""
