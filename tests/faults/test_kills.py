"""kill -9 at seeded moments of a sweep, and the same command again: as if nothing had happened.

Two ways to choose a moment. By counting the process's own file operations below its home, which hits
exactly what a clock seldom does: between making a claim and writing its owner, before and after the
rename that publishes, with the records file open. And by the clock, from outside, which hits the
middle of computing and of writing. Most moments are links of one chain (kill, the same command,
kill ...): later runs then meet what several killed ones left, and a link costs only what it builds.
"""

import random
import signal
import time

import pytest

from tests.faults.child import Moment
from tests.faults.outcome import begun, files, finished, leftovers, records, taken_up

SWEEP = ("-m", "method=ga,npo", "quant=rtn4,rtn8", "runtime.checkpoint_seconds=0")
PATIENCE = "runtime.claim_silence=3"


def chain(start, home, arguments, faults):
    """Runs the command once for each fault, then to its end; what each run said."""
    logs = []
    for link, fault in enumerate([*faults, None]):
        seconds = fault if isinstance(fault, float) else None
        moment = fault if isinstance(fault, Moment) else None
        running = start(*arguments, name=f"{home.name} {link}", home=home, moment=moment)
        if seconds is not None:
            time.sleep(seconds)
            running.kill_all()
        status = running.wait()
        logs.append(running.err)
        if fault is None:
            assert status == 0, running.err
        else:
            assert status == -signal.SIGKILL, f"{fault}: {running.err}"
    return logs


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


def test_killed_while_it_publishes_and_while_it_keeps_a_record(start, tmp_path):
    arguments = ("-m", "method=ga", "quant=none,rtn4", PATIENCE)
    whole = start(*arguments, name="uninterrupted", home=tmp_path / "whole")
    logs = chain(
        start,
        tmp_path / "cut",
        arguments,
        [
            Moment(event="os.rename", path="/unlearn/", nth=1),
            Moment(event="open", path="records.jsonl", nth=2),
        ],
    )
    assert whole.wait() == 0, whole.err
    assert_as_if_never_killed(tmp_path / "whole", tmp_path / "cut", logs)
