"""Ctrl-C ends a sweep in one line, and the same command goes on."""

import time

from tests.faults.child import Moment, interrupt
from tests.faults.conftest import SWEEP
from tests.faults.outcome import begun, files, leftovers, records, taken_up


def test_ctrl_c_in_a_training_and_in_an_evaluation(start, whole, tmp_path):
    home = tmp_path / "home"
    places = {"unlearn": r"/unlearn/.*steps\.jsonl", "evaluate": r"/evaluate/.*scores\.json"}
    logs = []
    for stage, path in places.items():
        moment = Moment(event="open", path=path, nth=2, harm=interrupt)
        running = start(*SWEEP, name=stage, home=home, moment=moment)
        assert running.wait() == 130, running.err
        assert running.err.splitlines()[-1] == "interrupted; the same command resumes from here"
        assert "Traceback" not in running.err
        assert "KeyboardInterrupt" not in running.err
        assert not list((home / "cache").glob("*/*.claim*"))
        logs.append(running.err)
    started = time.monotonic()
    last = start(*SWEEP, name="to the end", home=home)
    assert last.wait() == 0, last.err
    assert time.monotonic() - started < 60
    again = {key for log in logs for key in begun(log)} & set(begun(last.err))
    assert again <= taken_up(last.err)
    assert files(home) == files(whole)
    assert records(home) == records(whole)
    assert leftovers(home) == []
