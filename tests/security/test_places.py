"""Files for others in a shared home, files of others, and texts of theirs on the terminal."""

import json
import os

import pytest

from tests.data.corpora import own_folder, texts
from tests.graph.builders import make, stage
from unlearn_lab.data.check import main
from unlearn_lab.record import results
from unlearn_lab.record.side_files import read_sides


def secretive(asked, inputs, work):
    """As libraries do that write through a temporary file."""
    (work / "sub").mkdir(mode=0o700)
    (work / "sub" / "weights").touch(mode=0o600)
    return {}


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_artifacts_and_records_have_the_modes_that_the_umask_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        folder = make(tmp_path, secretive).get_or_build(stage()).path
        records = results.append(tmp_path, {"run_id": "a"})
    finally:
        os.umask(before)
    for path in (folder, *folder.rglob("*"), records):
        whole = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == whole & ~umask, path


@pytest.mark.parametrize("place", ["../secret.json", "{outside}", "cache/../../secret.json"])
def test_a_record_names_side_files_below_its_home_only(tmp_path, place):
    outside = tmp_path / "secret.json"
    outside.write_text(json.dumps([{"metric": "m", "answer": "not yours"}]))
    home = tmp_path / "lab"
    (home / "cache").mkdir(parents=True)
    record = {"run_id": "a", "samples": place.format(outside=outside)}
    assert read_sides(home, record).samples == []
    (home / "samples.json").write_text(outside.read_text())
    assert len(read_sides(home, {"run_id": "a", "samples": "samples.json"}).samples) == 1


def test_the_checker_spells_out_what_would_steer_the_terminal(tmp_path, capsys):
    rows = [{"\x1b[2J": text} for text in texts("forget")]
    assert main([str(own_folder(tmp_path / "a\x1b[1m", forget=rows))]) != 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert r"fields: \x1b[2J" in shown.out
