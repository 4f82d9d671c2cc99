"""Signals that end a job soon: held back until a training has a checkpoint, then passed on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from unlearn_lab.graph.signals import SIGNALS, deliver


class Preempted(BaseException):
    """Raised in the middle of something long that is repeated after a resume."""


class Signals:
    """Takes over SIGUSR1, SIGUSR2 and SIGTERM while it is entered; `received` says what has come.

    In the main thread only, the one place where Python lets handlers be set; in others signals act
    as they did. So do those that were ignored, or whose handler is not Python's.
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
        if error is None or isinstance(error, Exception):  # a step that fails ends no waiting
            while self.received:
                self.pass_on(self.received[0])
        self._restore()

    def hold(self) -> None:
        """Takes the signals over, also from what has taken them over since."""
        for number in self._previous:
            signal.signal(number, self._note)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raises `Preempted` where a signal comes, for what takes long and changes no weight."""
        self._at_once = True
        try:
            if self.received:
                raise Preempted
            yield
        finally:
            self._at_once = False

    def pass_on(self, number: int) -> None:
        """Lets the handler from before decide (see `deliver`); returns if the process goes on."""
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
