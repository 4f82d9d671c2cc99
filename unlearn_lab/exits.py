"""Exit statuses, and the exceptions that carry them through Hydra."""

from hydra.errors import CompactHydraException

FAILED = 1
REFUSED = 2
INTERRUPTED = 130


class Finished(SystemExit):
    """The sweep has ended and its table was shown; the code is 0, or 1 when a leaf failed."""


class RequestRefused(CompactHydraException):
    """A request that cannot be carried out; Hydra prints the message alone, without a stack."""
