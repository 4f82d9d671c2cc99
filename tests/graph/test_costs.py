"""Estimates from built stages that are more or less alike."""

import dataclasses

import pytest

from tests.graph.builders import make, stage
from unlearn_lab.graph import manifest
from unlearn_lab.graph.costs import Costs


def chain(model="small", seed=0, epochs=10, method="ga"):
    base = stage("base", {"corpus": stage("corpus", dataset={"seed": seed})}, model=model)
    target = stage("target", {"base": base}, seed=seed)
    params = {"method": method, "trainer": {"epochs": epochs}, "seed": seed}
    return stage("unlearn", {"target": target}, **params)


@pytest.fixture
def built(tmp_path):
    """Builds a chain and says that its last stage took so many seconds."""

    def build(leaf, seconds):
        cache = make(tmp_path, lambda asked, inputs, work: {})
        folder = cache.get_or_build(leaf).path
        found = dataclasses.replace(manifest.read_manifest(folder), seconds=float(seconds))
        manifest.write(folder, found)
        return tmp_path

    return build


def test_nothing_is_known_before_anything_like_it_was_built(tmp_path, built):
    assert Costs(tmp_path / "nowhere").seconds(chain()) is None
    home = built(chain("small"), 60)
    assert Costs(home).seconds(chain("large")) is None


def test_another_seed_costs_the_same_and_more_epochs_in_proportion(built):
    home = built(chain(epochs=10), 60)
    assert Costs(home).seconds(chain(seed=3)) == 60
    assert Costs(home).seconds(chain(epochs=25)) == 150


def test_the_likest_counts(built):
    built(chain(method="ga"), 60)
    home = built(chain(method="npo"), 100)
    assert Costs(home).seconds(chain(method="npo", seed=1)) == 100
    assert Costs(home).seconds(chain(method="ga", seed=1)) == 60
    assert Costs(home).seconds(chain(method="other", seed=0)) == 80


def test_a_damaged_manifest_does_not_count(built):
    leaf = chain()
    home = built(leaf, 60)
    path = home / "unlearn" / leaf.key / manifest.FILE
    path.write_text(path.read_text().replace("60.0", "61.0"))
    assert Costs(home).seconds(leaf) is None


def test_a_length_that_is_not_given_does_not_count(built):
    """SURE's `refresh_steps` is null unless its mask is renewed."""

    def sure(epochs, refresh_steps=None):
        params = {"optimizer": {"refresh_steps": refresh_steps}, "trainer": {"epochs": epochs}}
        return stage("unlearn", {"target": stage("target")}, **params)

    home = built(sure(10), 60)
    assert Costs(home).seconds(sure(20)) == 120
    assert Costs(home).seconds(sure(20, refresh_steps=4)) == 120
