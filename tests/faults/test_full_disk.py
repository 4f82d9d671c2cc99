"""A disk that fills up, really: one line says so, nothing is half there, and room is enough."""

import shutil

import pytest

from tests.faults.child import Fill, Moment, use_up_names
from tests.faults.conftest import SWEEP
from tests.faults.outcome import files, leftovers, records

pytestmark = pytest.mark.xdist_group("faults")

CASES = {
    "hydra's folder": (Moment(event="open", path="config.yaml", harm=Fill(0)), "runtime.home="),
    "names": (Moment(event="os.mkdir", path="/target/", harm=use_up_names), "/target/"),
    "tokenizer": (Moment(path=r"/target/.*tokenizer\.json", harm=Fill(0)), "target "),
    "weights": (Moment(path=r"/unlearn/.*/config\.json", harm=Fill(12288)), "unlearn "),
    "records": (Moment(event="open", path="records.jsonl", harm=Fill(4096)), "records.jsonl"),
    "report": (Moment(event="open", path="report.html", harm=Fill(4096)), "report not written"),
}


def free(home):
    (home / "ballast").unlink(missing_ok=True)
    shutil.rmtree(home / "ballast.d", ignore_errors=True)


def test_a_full_disk_is_told_and_costs_only_what_was_not_finished(start, whole, disk):
    home = disk("size=64m,nr_inodes=2000")
    for name, (moment, place) in CASES.items():
        running = start(*SWEEP, name=name, home=home, moment=moment)
        assert running.wait() == 1, (name, running.err)
        told = [line for line in running.err.splitlines() if "No space left" in line]
        assert any(place in line for line in told), (name, running.err)
        assert "Traceback" not in running.err + running.out, name
        assert "Logging error" not in running.err, name
        assert leftovers(home) == [], name
        free(home)
    last = start(*SWEEP, name="with room", home=home)
    assert last.wait() == 0, last.err
    assert files(home) == files(whole)
    assert records(home) == records(whole)
