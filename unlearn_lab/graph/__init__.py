"""Decides what a stage is, where its artifact is cached and which process builds or removes it."""
