"""Exit statuses, and the exceptions that carry them through Hydra."""

import errno

from hydra.errors import CompactHydraException

FAILED = 1
REFUSED = 2
INTERRUPTED = 130

UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
"""What the system says of a folder of results that must be another one: the request is refused."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What it says of a disk that is full."""


class Finished(SystemExit):
    """The sweep has ended and its table was shown; the code is 0, or 1 when a leaf failed."""


class RequestRefused(CompactHydraException):
    """A request that cannot be carried out; Hydra prints the message alone, without a stack."""
