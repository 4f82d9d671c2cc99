"""The record of a result: one flat row, its storage, its figures and its verdict."""
