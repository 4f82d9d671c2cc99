"""Runs the command line in a session of its own, and does harm at a chosen file operation."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import command

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate")


def kill(home):
    """Ends the process and all that it started, at once."""
    os.killpg(0, signal.SIGKILL)


def interrupt(home):
    """As Ctrl-C does."""
    os.killpg(0, signal.SIGINT)


@dataclass(frozen=True)
class Fill:
    """Fills the home's disk but for `room` bytes."""

    room: int

    def __call__(self, home):
        disk = os.statvfs(home)
        with (Path(home) / "ballast").open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, disk.f_bavail * disk.f_frsize - self.room)


def use_up_names(home):
    """Leaves no file that could still be made on the home's disk."""
    (Path(home) / "ballast.d").mkdir()
    for number in range(os.statvfs(home).f_favail):
        (Path(home) / "ballast.d" / str(number)).touch()


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Does `harm` before the `nth` operation below the home that holds `event` and fits `path`."""

    nth: int = 1
    event: str = ""
    path: str = ""
    harm: Callable = kill


@dataclass(kw_only=True)
class Count:
    """An audit hook that counts what the process is about to do to its home's files."""

    home: str
    moment: Moment
    seen: int = 0

    def __call__(self, event, arguments):
        if event not in EVENTS or (event == "open" and not self._writes(arguments)):
            return
        paths = " ".join(os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | Path))
        inside = self.home in paths or event in ("os.remove", "os.rmdir")
        if not inside or "ballast" in paths or paths.endswith("heartbeat"):
            return  # beats come as time passes
        if self.moment.event in event and re.search(self.moment.path, paths):
            self.seen += 1
            if self.seen == self.moment.nth:
                self.moment.harm(self.home)

    @staticmethod
    def _writes(arguments):
        return isinstance(arguments[2], int) and arguments[2] & WRITING


def run(arguments, folder, environment, home, *, moment=None, clock=0.0, user=None, terminal=None):
    """The command, and in the file `cost` the file operations and seconds of CPU that it took.

    `clock` seconds are added to what this process takes for the time of day; it runs as `user`, and
    on the `terminal` of that name.
    """
    os.setsid()
    count = Count(home=str(home), moment=moment or Moment(nth=-1))
    sys.addaudithook(count)
    if clock:
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + clock
        time.time_ns = lambda: real_ns() + int(clock * 1e9)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    try:
        command.run(arguments, folder, environment, terminal=terminal)
    finally:
        (folder / "cost").write_text(f"{count.seen} {time.process_time()}")
