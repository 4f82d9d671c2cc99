"""A logging filter that passes each message once per process."""

import logging


class OncePerProcess(logging.Filter):
    """Passes the first of equal messages: the jobs of a sweep load and check the same files.

    Attributes:
        name: only the messages of this logger, and of those below it, are filtered; empty for all.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._seen = set[tuple[str, str]]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether no equal message of this logger has passed yet."""
        if not super().filter(record):
            return True
        message = (record.name, record.getMessage())
        if message in self._seen:
            return False
        self._seen.add(message)
        return True


def warn_once(logger: logging.Logger) -> None:
    """Makes a logger and those below it log each message once, through the handlers it has."""
    for handler in logger.handlers:
        if not any(isinstance(one, OncePerProcess) for one in handler.filters):
            handler.addFilter(OncePerProcess(logger.name))
