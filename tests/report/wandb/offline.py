"""The client's own reader of offline runs."""

import subprocess
import time

from wandb.util import get_core_path


def read(folder, *flags):
    """What `wandb leet inspect --json` prints of a run, a line each.

    The command's program is called itself: the command imports the client first, a second each.
    """
    (file,) = folder.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--json", *flags]
    command += ["--run-file", str(file), str(folder.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def read_to_the_end(folder):
    """The lines of a run that has ended; its service may write the last a little later."""
    deadline = time.monotonic() + 60
    while not (lines := read(folder)) or '"type":"exit"' not in lines[-1].replace(" ", ""):
        assert time.monotonic() < deadline, f"{folder} has no end"
        time.sleep(0.1)
    return lines
