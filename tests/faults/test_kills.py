"""kill -9 at seeded moments of a sweep, and the same command again: as if nothing had happened.

Two ways to choose a moment. Counting the process's own file operations below its home hits exactly
what a clock seldom does: between making a claim and writing its owner, before and after the rename
that publishes, with the records file open. A clock, watched from outside, hits the middle of
computing and of writing; it counts seconds of CPU, so that a busy machine changes nothing. The
moments are links of a chain (kill, the same command, kill ...): later runs meet what several killed
ones left, and a link costs only what it builds.
"""

import random
import signal
import time

import pytest

from tests.faults.child import Moment
from tests.faults.conftest import CLAIMS, SWEEP
from tests.faults.outcome import begun, files, finished, leftovers, records, taken_up

HEADLINE = (
    "-m",
    "method=ga,npo",
    "quant=rtn4,rtn8",
    "report.html=true",
    "runtime.checkpoint_seconds=0",
    *CLAIMS,
)


def run_until(start, name, home, arguments, fault):
    """One link: killed at a moment, after seconds of CPU, or (None) not at all; what it said."""
    moment = fault if isinstance(fault, Moment) else None
    running = start(*arguments, name=name, home=home, moment=moment)
    if isinstance(fault, float):
        while running.process.is_alive() and running.seconds() < fault:
            time.sleep(0.005)
        running.kill_all()
    status = running.wait()
    assert status == (0 if fault is None else -signal.SIGKILL), f"{fault}: {running.err}"
    return running.err


def assert_as_if_never_killed(whole, cut, logs):
    """The same bits, nothing left over, and nothing built twice without a word."""
    assert files(cut) == files(whole)
    assert records(cut) == records(whole)
    assert leftovers(cut) == []
    done = [key for log in logs for key in finished(log)]
    assert len(done) == len(set(done))
    before = set()
    for log in logs:
        again = before & set(begun(log))
        assert again <= taken_up(log), (again, log)
        before |= set(begun(log))


def test_killed_before_it_publishes_and_after_and_while_it_keeps_a_record(start, whole, tmp_path):
    faults = [
        Moment(event="os.rename", path="/unlearn/"),
        Moment(event="shutil.rmtree", path=r"/evaluate/.*\.claim"),
        Moment(event="open", path="records.jsonl", nth=2),
        None,
    ]
    home = tmp_path / "cut"
    logs = [run_until(start, str(n), home, SWEEP, fault) for n, fault in enumerate(faults)]
    assert_as_if_never_killed(whole, home, logs)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("by", ["operation", "clock"])
def test_ten_kills_at_seeded_moments_and_then_the_end(start, tmp_path, by):
    """Steps of 0 to a fifth of the whole, a tenth on average: repeated work keeps it from ending.

    The last two are the writing of the last record and of the report.
    """
    uninterrupted = start(*HEADLINE, name="uninterrupted", home=tmp_path / "whole")
    assert uninterrupted.wait() == 0, uninterrupted.err
    operations, seconds = uninterrupted.cost
    choose = random.Random(6)
    steps = [choose.uniform(0, 0.2) for _ in range(8)]
    faults = (
        [Moment(nth=1 + int(step * operations)) for step in steps]
        if by == "operation"
        else [step * seconds for step in steps]
    )
    faults += [
        Moment(event="open", path="records.jsonl", nth=4),
        Moment(event="os.rename", path="report.html"),
        None,
    ]
    home = tmp_path / "cut"
    logs = [run_until(start, str(n), home, HEADLINE, fault) for n, fault in enumerate(faults)]
    assert_as_if_never_killed(tmp_path / "whole", home, logs)
