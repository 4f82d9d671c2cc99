"""Runs the command line in a session of its own, and may kill it at a chosen file operation."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The `nth` file operation below the home whose name and paths hold `event` and `path`."""

    nth: int
    event: str = ""
    path: str = ""


@dataclass(kw_only=True)
class Count:
    """An audit hook that counts what the process is about to do to its home's files."""

    home: str
    moment: Moment | None
    seen: int = 0

    def __call__(self, event, arguments):
        if event not in EVENTS or (event == "open" and not self._writes(arguments)):
            return
        paths = " ".join(os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | Path))
        inside = self.home in paths or event in ("os.remove", "os.rmdir")
        if not inside or paths.endswith("heartbeat"):  # beats come as time passes
            return
        if self.moment and not (self.moment.event in event and self.moment.path in paths):
            return
        self.seen += 1
        if self.moment and self.seen == self.moment.nth:
            os.killpg(0, signal.SIGKILL)

    @staticmethod
    def _writes(arguments):
        return isinstance(arguments[2], int) and arguments[2] & WRITING


def run(arguments, folder, environment, *, moment=None, count=False, clock=0.0, user=None):
    """The command; `clock` seconds are added to what this process takes for the time of day."""
    from tests.e2e import command

    os.setsid()
    home = next(a for a in arguments if a.startswith("runtime.home=")).partition("=")[2]
    if moment is not None:
        sys.addaudithook(Count(home=home.strip("'"), moment=moment))
    if count:
        counter = Count(home=home, moment=None)
        sys.addaudithook(counter)
    if clock:
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + clock
        time.time_ns = lambda: real_ns() + int(clock * 1e9)
    if user is not None:
        os.setgid(user)
        os.setuid(user)
    try:
        command.run(arguments, folder, environment)
    finally:
        if count:
            (folder / "count").write_text(str(counter.seen))
