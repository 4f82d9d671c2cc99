"""Runs the command line in a process of its own, forked from one that has imported everything."""

import os
import sys
from pathlib import Path

import pytest_socket


def run(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    hosts: tuple[str, ...] = (),
    terminal: str | None = None,
) -> None:
    """The command in `folder`; what it prints goes to the files `out` and `err` there.

    It reaches `hosts` only, none unless named. On a `terminal`, all goes to it, and it is what the
    command could ask.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name, descriptor in (("out", 1), ("err", 2)):
        place = terminal or folder / name
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(terminal or os.devnull, os.O_RDONLY), 0)
    if hosts:
        pytest_socket.socket_allow_hosts(list(hosts), allow_unix_socket=True)
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)
    sys.argv = ["unlearn_lab", *arguments]
    from unlearn_lab.cli import main

    main()
