"""Decides which stages a job needs: a graph over pinned parts whose leaf is one record."""
