"""Defers signals that announce a job's end until the training has written a checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from unlearn_lab.graph.signals import SIGNALS, deliver


class Preempted(BaseException):
    """Interrupts a long computation that is repeated after a resume."""


class Signals:
    """Context manager that defers SIGUSR1, SIGUSR2 and SIGTERM; `received` lists pending ones.

    Works in the main thread only, where Python allows handlers to be set; in other threads signals
    act as before. So do ignored signals and those whose handler was not installed from Python.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int] = {}
        self._at_once = False

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler is not None and handler != signal.SIG_IGN:
                    self._previous[number] = handler
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, Exception):  # a failed step must not swallow signals
            while self.received:
                self.pass_on(self.received[0])
        self._restore()

    def hold(self) -> None:
        """Installs the deferring handlers, also over handlers that were set since."""
        for number in self._previous:
            signal.signal(number, self._note)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Context in which a signal raises `Preempted`: for long work that changes no weights."""
        self._at_once = True
        try:
            if self.received:
                raise Preempted
            yield
        finally:
            self._at_once = False

    def pass_on(self, number: int) -> None:
        """Calls the previous handler (see `deliver`); defers signals again if it returns."""
        if number in self.received:
            self.received.remove(number)
        self._restore()
        deliver(number, self._previous.get(number, signal.SIG_DFL))
        self.hold()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if self._at_once:
            self._at_once = False
            raise Preempted

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
