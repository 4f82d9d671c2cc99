"""Pickles and scripts that leave a mark when they run."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.e2e.conftest import forkserver as forkserver


class Trap:
    """Whoever unpickles it makes the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self._mark),)


class Traps:
    """Writes files that leave a mark when they are run, and tells whether one was."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def pickle(self, file: Path) -> None:
        torch.save(Trap(self.mark), file, _use_new_zipfile_serialization=False)

    def zip(self, file: Path) -> None:
        torch.save({"model.embed_tokens.weight": Trap(self.mark), "state_dict": {}}, file)

    def script(self, file: Path, further: str = "") -> None:
        file.write_text(f"import os\nos.makedirs({str(self.mark)!r}, exist_ok=True)\n{further}")

    @property
    def sprung(self) -> bool:
        return self.mark.exists()


@pytest.fixture
def traps(tmp_path):
    made = Traps(tmp_path / "mark")
    yield made
    assert not made.sprung, "code from outside was run"


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A copy of the sharded checkpoint, to be made malicious."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def edit(file: Path, **changes) -> None:
    """Changes the keys of a JSON file."""
    found = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(found | changes))
