"""A pytest plugin for `benchmarks.mutants`: runs only the tests listed in chosen.json."""

import json
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects every other test."""
    chosen = set(json.loads((Path(config.rootpath) / "chosen.json").read_text(encoding="utf-8")))
    left = [item for item in items if item.nodeid not in chosen]
    items[:] = [item for item in items if item.nodeid in chosen]
    config.hook.pytest_deselected(items=left)
