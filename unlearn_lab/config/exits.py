"""Defines the exit statuses and the exceptions that carry them through Hydra."""

import errno

from hydra.errors import CompactHydraException

FAILED = 1
REFUSED = 2
INTERRUPTED = 130

UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
"""`errno` values of a results folder that cannot be used: the request is refused."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""`errno` values of a full disk or quota."""


class Finished(SystemExit):
    """A sweep has ended and its table was printed; the code is 0, or 1 if a leaf failed."""


class RequestRefused(CompactHydraException):
    """A request that cannot be carried out; Hydra prints the message without a stack trace."""
