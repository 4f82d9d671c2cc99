"""What a signal does that was held back, by the handler from before."""

import signal

import pytest

from unlearn_lab.graph.cache import Interrupted
from unlearn_lab.graph.signals import deliver

NUMBER = signal.SIGUSR1


@pytest.fixture
def handle():
    """Sets a handler for the time of a test."""
    before = signal.getsignal(NUMBER)
    yield lambda handler: signal.signal(NUMBER, handler)
    signal.signal(NUMBER, before)


def test_the_default_action_ends_with_the_status_of_shells():
    with pytest.raises(SystemExit) as leaving:
        deliver(NUMBER, signal.SIG_DFL)
    assert leaving.value.code == 128 + NUMBER


def test_a_handler_may_let_the_process_go_on(handle):
    came = []
    handle(lambda number, frame: came.append(number))
    deliver(NUMBER, signal.getsignal(NUMBER))
    assert came == [NUMBER]


def test_an_error_of_a_handler_interrupts_the_build(handle):
    def requeue(number, frame):
        raise OSError("no queue")

    handle(requeue)
    with pytest.raises(Interrupted, match="SIGUSR1: no queue"):
        deliver(NUMBER, signal.getsignal(NUMBER))


def test_ways_to_leave_that_are_no_errors_are_let_through(handle):
    def leave(number, frame):
        raise SystemExit(3)

    handle(leave)
    with pytest.raises(SystemExit) as leaving:
        deliver(NUMBER, signal.getsignal(NUMBER))
    assert leaving.value.code == 3
