"""What is listed of a cache, damaged, linked and vanishing things included."""

import json
import os
import time

from tests.graph.builders import make, stage
from unlearn_lab.graph import manifest
from unlearn_lab.graph.inventory import (
    below,
    count_bytes,
    damage_of,
    freed_bytes,
    read_files,
    take_inventory,
)

BASE = stage("base")
LEFT, RIGHT = stage("mid", {"of": BASE}, x=1), stage("mid", {"of": BASE}, x=2)
LEAF = stage("leaf", {"a": LEFT, "b": RIGHT})


def only(root, name):
    (item,) = [item for item in take_inventory(root) if item.stage == name]
    return item


def test_artifacts_are_told_from_their_manifests(tmp_path):
    make(tmp_path).get_or_build(LEAF)
    found = take_inventory(tmp_path)
    assert [item.stage for item in found] == ["base", "leaf", "mid", "mid"]
    leaf = only(tmp_path, "leaf")
    assert (leaf.key, leaf.kind, leaf.damage) == (LEAF.key, "artifact", None)
    assert leaf.description == LEAF.description
    assert leaf.inputs == {LEFT.key, RIGHT.key}
    assert count_bytes([leaf]) == sum(path.stat().st_size for path in leaf.path.iterdir())
    assert abs(leaf.built - time.time()) < 60


def test_what_a_key_stands_on_at_any_depth(tmp_path):
    make(tmp_path).get_or_build(LEAF)
    make(tmp_path).get_or_build(stage("other"))
    found = take_inventory(tmp_path)
    assert below([LEAF.key], found) == {LEAF.key, LEFT.key, RIGHT.key, BASE.key}
    assert below(["gone"], found) == {"gone"}


def test_the_age_is_the_manifests_and_of_leftovers_that_of_the_newest_file(tmp_path):
    path = make(tmp_path).get_or_build(BASE).path
    os.utime(path / manifest.FILE, (1000, 1000))
    assert only(tmp_path, "base").built == 1000
    work = tmp_path / "n" / f"{BASE.key}.work.0a"
    (work / "inner").mkdir(parents=True)
    for age, file in ((5, work / "old"), (7, work / "inner" / "new")):
        file.write_text("x")
        os.utime(file, (age, age))
    assert only(tmp_path, "n").built == 7


def test_leftovers_by_kind_and_what_is_none_of_the_caches(tmp_path):
    names = {
        f"n/{BASE.key}.work.0a1b": "unfinished",
        f"n/{BASE.key}.claim": "claim",
        f"n/{BASE.key}.0a1b2c3d.dead": "trash",
        f"n/{BASE.key}.work.0a1b.0a1b2c3d.dead": "trash",
        "leases/0a1b.lease": "lease",
        "leases/0a1b.lease.0a1b2c3d.dead": "trash",
        "leases/prune.claim": None,
        "n/notes": None,
        f"{BASE.key}": None,
    }
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    for pid, age in ((1, 7200), (2, 0)):
        (tmp_path / f"digests.json.{pid}").write_text("{")
        os.utime(tmp_path / f"digests.json.{pid}", (time.time() - age,) * 2)
    (tmp_path / "digests.json").write_text("{}")
    found = {
        item.path.relative_to(tmp_path).as_posix(): item.kind for item in take_inventory(tmp_path)
    }
    wanted = {name: kind for name, kind in names.items() if kind}
    assert found == wanted | {"digests.json.1": "copy"}


def test_links_are_neither_followed_nor_listed(tmp_path):
    outside = make(tmp_path / "outside").get_or_build(BASE).path
    root = tmp_path / "cache"
    path = make(root).get_or_build(LEAF).path
    (path / "link").symlink_to(outside, target_is_directory=True)
    (root / "linked").symlink_to(tmp_path / "outside" / "base", target_is_directory=True)
    (root / "mid" / BASE.key).symlink_to(outside, target_is_directory=True)
    found = take_inventory(root)
    assert [item.stage for item in found] == ["base", "leaf", "mid", "mid"]
    assert BASE.key not in [item.key for item in found if item.stage == "mid"]
    assert only(root, "leaf").files == read_files(path)
    assert len(read_files(path)) == 2


def test_a_file_with_two_names_counts_once_and_is_freed_with_its_last(tmp_path):
    make(tmp_path).get_or_build(LEAF)
    base, leaf = only(tmp_path, "base"), only(tmp_path, "leaf")
    (base.path / "weights").write_bytes(b"x" * 5000)
    os.link(base.path / "weights", leaf.path / "weights")
    base, leaf = only(tmp_path, "base"), only(tmp_path, "leaf")
    both = count_bytes([base, leaf])
    assert both == count_bytes([base]) + count_bytes([leaf]) - 5000
    assert freed_bytes([base]) == count_bytes([base]) - 5000
    assert freed_bytes([base, leaf]) == both


def test_damage_is_told_and_a_key_still_proves_what_was_built(tmp_path):
    path = make(tmp_path).get_or_build(LEAF).path
    (path / "value").write_text("LEAF(mid(base())+mid(base()))")
    assert damage_of(path, contents=False) is None
    assert "was changed" in damage_of(path, contents=True)
    (path / "value").write_text("")
    body = json.loads((path / manifest.FILE).read_text())
    (path / manifest.FILE).write_text(json.dumps({**body, "seconds": 1e9}))
    leaf = only(tmp_path, "leaf")
    assert "was edited" in leaf.damage
    assert leaf.inputs == {LEFT.key, RIGHT.key}
    (path / manifest.FILE).write_text(
        json.dumps({**body, "stage": {**body["stage"], "version": 2}})
    )
    leaf = only(tmp_path, "leaf")
    assert leaf.inputs == set()
    (path / manifest.FILE).unlink()
    assert "cannot be read" in only(tmp_path, "leaf").damage


def test_a_manifest_of_another_stage_is_damage(tmp_path):
    path = make(tmp_path).get_or_build(BASE).path
    other = path.with_name(LEAF.key)
    path.rename(other)
    assert "another stage" in damage_of(other, contents=False)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert take_inventory(tmp_path / "none") == []
    assert read_files(tmp_path / "none") == ()
