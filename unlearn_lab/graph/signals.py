"""Decides which signals end a job early, and how a deferred one takes effect."""

import signal

from unlearn_lab.graph.cache import Interrupted

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


def deliver(number: int, handler: object) -> None:
    """Delivers a deferred signal to its original handler; returns if that does not end the process.

    The original handler must be installed again. The default action, ending the process, becomes
    `SystemExit` with the status 128 + number, as in shells, so that claims are released. Raises
    `Interrupted` for an error in the handler.
    """
    if handler == signal.SIG_DFL:
        raise SystemExit(128 + number)
    try:
        signal.raise_signal(number)
    except Exception as error:  # raised again, as what interrupted the build
        raise Interrupted(f"{signal.Signals(number).name}: {error}") from error
