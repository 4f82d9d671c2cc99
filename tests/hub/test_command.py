"""The command line with models of a hub: trained from, taken as they are, and again offline."""

import pytest

from tests.e2e.artifacts import SMALL, built, stamps
from tests.hub.loading import execute
from unlearn_lab.record.results import read_records

NAME = "maker/commanded"
ARGUMENTS = (
    *SMALL,
    "model=hf",
    f"model.path={NAME}",
    "trainer.max_length=64",
    "eval.metrics.min_k.num_tokens=40",
    "method=ga",
    "quant=rtn4",
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def commit(hub, checkpoint):
    return hub.repository("models", NAME).commit(checkpoint, "main")


@pytest.fixture(scope="module")
def lab(online, offline, tmp_path_factory):
    """Runs `python -m unlearn_lab` with the hub, or with `HF_HUB_OFFLINE=1` and no hub at all."""

    def run(name, *arguments, without_hub=False):
        folder = tmp_path_factory.getbasetemp() / name
        where = offline if without_hub else online
        status, err = where(execute, [*ARGUMENTS, *arguments, f"runtime.home={folder}"], folder)
        return status, err, folder

    return run


@pytest.fixture(scope="module")
def first(lab, commit):
    """The first run, with the hub."""
    status, err, folder = lab("first")
    assert status == 0, err
    return folder


def test_the_hub_s_model_is_fine_tuned_unlearned_and_scored(first, commit):
    (record,) = read_records(first)
    assert record["model"] == "hf"
    assert (built(first)["base"], built(first)["target"]) == (1, 1)
    base = next((first / "cache" / "base").glob("*/pointer.json"))
    assert f'"path": "{NAME}", "revision": "{commit}"' in base.read_text()


def test_without_the_hub_everything_is_reused(first, lab):
    before, (record,) = stamps(first), read_records(first)
    status, err, folder = lab("first", without_hub=True)
    assert status == 0, err
    assert stamps(folder) == before
    assert read_records(folder)[-1]["run_id"] == record["run_id"]


def test_without_the_hub_a_new_home_is_built_from_what_was_downloaded(first, lab):
    """The same commit, so the same keys and the same scores."""
    status, err, folder = lab("second", without_hub=True)
    assert status == 0, err
    assert {place.split("/cache/")[1] for place in stamps(folder)} == {
        place.split("/cache/")[1] for place in stamps(first)
    }
    name = "scores.unlearned.quantized.utility"
    assert read_records(folder)[-1][name] == read_records(first)[-1][name]


def test_a_gated_model_is_refused_before_anything_is_trained(hub, checkpoint, lab):
    repository = hub.repository("models", "maker/gated")
    repository.commit(checkpoint, "main")
    repository.close("hf_secret", 401)
    status, err, folder = lab("gated", "model.path=maker/gated")
    assert status == 2
    assert "model.path=maker/gated: is gated" in err
    assert "hf auth login" in err
    assert "Traceback" not in err
    assert not (folder / "cache" / "target").exists()
