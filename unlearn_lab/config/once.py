"""A logging filter that passes each message once per process."""

import logging


class OncePerProcess(logging.Filter):
    """Passes the first of equal messages: the jobs of a sweep load and check the same files."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = set[tuple[str, str]]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether no equal message of this logger has passed yet."""
        message = (record.name, record.getMessage())
        if message in self._seen:
            return False
        self._seen.add(message)
        return True


def warn_once(logger: logging.Logger) -> None:
    """Makes the handlers of a logger, and so of those below it, pass each message once."""
    for handler in logger.handlers:
        if not any(isinstance(one, OncePerProcess) for one in handler.filters):
            handler.addFilter(OncePerProcess())
