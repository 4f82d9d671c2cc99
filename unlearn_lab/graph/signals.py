"""The signals that end a job soon, and how one that was held back takes its effect."""

import signal

from unlearn_lab.graph.cache import Interrupted

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


def deliver(number: int, handler: object) -> None:
    """Lets the handler from before decide; returns if it lets the process go on.

    It must be in its place again. The default action, to end the process, becomes `SystemExit` with
    the status that shells give it, so that claims are released. Raises `Interrupted` for an error
    in the handler.
    """
    if handler == signal.SIG_DFL:
        raise SystemExit(128 + number)
    try:
        signal.raise_signal(number)
    except Exception as error:  # a handler is someone else's code
        raise Interrupted(f"{signal.Signals(number).name}: {error}") from error
