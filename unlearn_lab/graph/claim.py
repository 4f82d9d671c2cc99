"""Claims decide which process builds a stage: crash-safe, on NFS, without synchronised clocks."""

import contextlib
import functools
import json
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_OWNER = "owner.json"
_HEARTBEAT = "heartbeat"
TRASH = ".dead"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClaimTimeouts:
    """The timing of claims, in seconds.

    Attributes:
        heartbeat: interval between the owner's heartbeats.
        poll: interval between a waiting process's checks of another process's claim.
        stale_after: time without a heartbeat after which a claim counts as stale and is taken over.
    """

    heartbeat: float
    poll: float
    stale_after: float


class Claim:
    """The exclusive right to build a stage: a folder created by one atomic mkdir.

    Use as a context manager. The heartbeat is a counter, and a waiting process measures the time
    since it last changed with its own monotonic clock, so clock skew between hosts is harmless. A
    claim whose owner died on this host is taken over at once.

    Args:
        folder: path of the claim, created by `try_acquire`.
        timeouts: timing of claims.
        uses: keys of stages whose artifacts must stay as long as the claim does.
    """

    def __init__(self, folder: Path, timeouts: ClaimTimeouts, uses: Iterable[str] = ()) -> None:
        self.folder = folder
        self._uses = sorted(uses)
        self.token = secrets.token_hex(8)
        self._made = False
        self._timeouts = timeouts
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._send_heartbeats, name=f"claim {folder.name}", daemon=True
        )

    def try_acquire(self) -> bool:
        """Tries once to acquire the claim; returns whether this process is now its owner."""
        try:
            self.folder.mkdir()
        except FileExistsError:
            return False
        self._made = True
        owner = {**_place(), "pid": os.getpid(), "token": self.token, "uses": self._uses}
        try:
            (self.folder / _HEARTBEAT).write_text("0")
            (self.folder / _OWNER).write_text(json.dumps(owner))
        except FileNotFoundError:  # mistaken for a dead process's claim and moved away
            return False
        self._thread.start()
        return True

    def still_mine(self) -> bool:
        """Whether no other process has taken the claim over."""
        owner = read_owner(self.folder)
        if owner is None:  # removed, or a read that failed temporarily
            return self.folder.exists()
        return owner.get("token") == self.token

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        # A claim that was not acquired may be one whose owner is not written yet.
        if self._made and self.still_mine():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _send_heartbeats(self) -> None:
        count = 0
        while not self._stop.wait(self._timeouts.heartbeat):
            count += 1
            if not self.still_mine():
                return
            try:
                (self.folder / _HEARTBEAT).write_text(str(count))
            except OSError as error:
                _log.warning("claim %s: heartbeat failed (%s)", self.folder, error)


def read_owner(folder: Path) -> dict[str, object] | None:
    """Returns host, pid, token and uses of a claim's owner; None if not written yet or removed."""
    try:
        return json.loads((folder / _OWNER).read_text())
    except (OSError, ValueError):
        return None


def read_heartbeat(folder: Path) -> str:
    """Returns the heartbeat counter of a claim; empty if there is none."""
    try:
        return (folder / _HEARTBEAT).read_text()
    except OSError:
        return ""


class Watch:
    """One waiting process's view of another process's claim: decides when its owner is dead."""

    def __init__(self, folder: Path, timeouts: ClaimTimeouts) -> None:
        self._folder = folder
        self._timeouts = timeouts
        self._last: tuple[object, str] | None = None
        self._since = time.monotonic()

    @property
    def token(self) -> object:
        """The token of the owner last seen; None if it had not written one."""
        return self._last[0] if self._last else None

    def owner_is_dead(self) -> bool:
        """Whether the owner died on this host, or sent no heartbeat for `stale_after` seconds."""
        owner = read_owner(self._folder)
        seen = (owner and owner.get("token"), read_heartbeat(self._folder))
        if seen != self._last:
            self._last, self._since = seen, time.monotonic()
        if owner is not None and _known_dead(owner):
            return True
        return time.monotonic() - self._since > self._timeouts.stale_after


def break_claim(folder: Path, token: object) -> None:
    """Removes the claim of the dead owner `token`; if several processes try, one rename wins.

    If another process has taken the claim over meanwhile, its claim is restored.
    """
    if (owner := read_owner(folder)) is not None and owner.get("token") != token:
        return
    trash = trash_path(folder)
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    owner = read_owner(trash)
    if (owner and owner.get("token")) != token and not folder.exists():
        with contextlib.suppress(OSError):  # claimed again meanwhile: this one is lost
            trash.rename(folder)
            return
    shutil.rmtree(trash, ignore_errors=True)


def trash_path(path: Path) -> Path:
    """Returns a new name for a path to remove: after one rename, no other process finds it."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}{TRASH}")


def release_dead(folder: Path) -> None:
    """Removes the claim at `folder` if its owner was a process on this machine and has died."""
    owner = read_owner(folder)
    if owner is not None and _known_dead(owner):
        break_claim(folder, owner.get("token"))


def _known_dead(owner: dict[str, object]) -> bool:
    """Whether the owner's process ran in this process's PID namespace and has ended."""
    here = _place()
    same = all(owner.get(name) == value for name, value in here.items())
    return same and not _alive(int(str(owner["pid"])))


@functools.cache
def _place() -> dict[str, str]:
    """Returns the host, boot and PID namespace within which a pid identifies one process.

    Containers, and machines of one image, may share a host name.
    """
    return {
        "host": socket.gethostname(),
        "boot": _read_or_blank(lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip()),
        "processes": _read_or_blank(lambda: os.readlink("/proc/self/ns/pid")),
    }


def _read_or_blank(ask: Callable[[], str]) -> str:
    """Returns the kernel's answer; empty on systems other than Linux."""
    try:
        return ask()
    except OSError:
        return ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
