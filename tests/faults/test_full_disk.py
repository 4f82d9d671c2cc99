"""A disk that fills up, really: one line says so, nothing is half there, and room is enough."""

import shutil

import pytest

from tests.faults.child import Fill, Moment, use_up_names
from tests.faults.conftest import SWEEP
from tests.faults.outcome import files, leftovers, records

CASES = {
    "in the checks": (2, r"/corpus/.*\.json", Fill(0), "runtime.home="),
    "Hydra's folder": (1, "config.yaml", Fill(0), "runtime.home="),
    "no file more": (1, r"/cache/target/\w+\.claim", use_up_names, "/target/"),
    "tokenizer": (1, r"/target/.*tokenizer_config\.json", Fill(0), "target "),
    "weights": (1, r"/unlearn/.*/config\.json", Fill(12288), "unlearn "),
    "records": (1, "records.jsonl", Fill(4096), "records.jsonl"),
    "report": (1, "report.html", Fill(4096), "report not written"),
}


def free(home):
    (home / "ballast").unlink(missing_ok=True)
    shutil.rmtree(home / "ballast.d", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("names", [tuple(CASES)])
def test_a_full_disk_is_told_and_costs_only_what_was_not_finished(start, whole, disk, names):
    home = disk("size=64m,nr_inodes=2000")
    for name in names:
        status, path, harm, place = CASES[name]
        moment = Moment(path=path, harm=harm)
        running = start(*SWEEP, name=name, home=home, moment=moment)
        assert running.wait() == status, (name, running.err)
        lines = running.err.splitlines()
        told = [line for line in lines if "No space left" in line or "is the disk full?" in line]
        assert any(place in line for line in told), (name, running.err)
        assert "Traceback" not in running.err + running.out, name
        assert "Logging error" not in running.err, name
        assert leftovers(home) == [], name
        free(home)
    last = start(*SWEEP, name="with room", home=home)
    assert last.wait() == 0, last.err
    assert files(home) == files(whole)
    assert records(home) == records(whole)
