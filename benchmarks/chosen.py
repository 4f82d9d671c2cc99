"""A pytest plugin for `benchmarks.mutants`: runs the tests listed in chosen.json, units first."""

import json
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects every other test; puts the end-to-end tests, which take longest, last."""
    chosen = set(json.loads((Path(config.rootpath) / "chosen.json").read_text(encoding="utf-8")))
    left = [item for item in items if item.nodeid not in chosen]
    kept = [item for item in items if item.nodeid in chosen]
    items[:] = sorted(kept, key=lambda item: "e2e" in item.path.parts)
    config.hook.pytest_deselected(items=left)
