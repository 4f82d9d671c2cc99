"""Decides how YAML and the command line become checked, typed objects, and what is refused."""
