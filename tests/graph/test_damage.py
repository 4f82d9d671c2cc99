"""An artifact that is not whole is noticed, said and built again."""

import json

import pytest

from tests.graph.builders import Recorder, make, stage
from unlearn_lab.graph import manifest


def damage_size(path):
    (path / "value").write_text("")


def damage_content(path):
    (path / "value").write_text("N()")


def damage_missing(path):
    (path / "value").unlink()


def damage_manifest(path):
    body = json.loads((path / manifest.FILE).read_text())
    body["facts"] = {"inputs": 7}
    (path / manifest.FILE).write_text(json.dumps(body))


def damage_torn_manifest(path):
    (path / manifest.FILE).write_text("{")


def damage_foreign(path):
    other = stage(x="other")
    body = manifest.Manifest(
        stage=other.description, files=manifest.describe_files(path), facts={}, seconds=0.0
    )
    manifest.write(path, body)


@pytest.mark.parametrize(
    "damage",
    [
        damage_size,
        damage_content,
        damage_missing,
        damage_manifest,
        damage_torn_manifest,
        damage_foreign,
    ],
)
def test_a_damaged_artifact_is_noticed_said_and_rebuilt(tmp_path, caplog, damage):
    leaf = stage()
    damage(make(tmp_path).get_or_build(leaf).path)
    recorder = Recorder()
    artifact = make(tmp_path, recorder).get_or_build(leaf)
    assert recorder.built == [leaf.key]
    assert (artifact.path / "value").read_text() == "n()"
    assert "rebuilding it" in caplog.text


def test_a_removed_file_that_nfs_shows_until_it_is_closed_is_no_part_of_an_artifact(tmp_path):
    """As the reference's hidden states, mapped until the training's objects are collected."""
    built = []

    def build(asked, inputs, work):
        (work / "value").write_text("n()")
        (work / ".nfs00000000001a2b3c00000001").write_text("mapped")
        built.append(asked)
        return {}

    leaf = stage()
    first = make(tmp_path, build).get_or_build(leaf)
    (first.path / ".nfs00000000001a2b3c00000001").unlink()
    make(tmp_path, build).get_or_build(leaf)
    assert built == [leaf]
