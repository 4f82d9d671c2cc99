"""The cache command: what is kept, for which sweep, and how to prune, verify and export it."""
