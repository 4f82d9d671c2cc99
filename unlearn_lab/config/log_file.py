"""The log in a job's folder: kept where the disk takes it, and never a reason to fail."""

import logging
import sys


class LogFile(logging.FileHandler):
    """Appends to a file; when the disk refuses, that is said once and the job goes on."""

    _refused = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, opening the file for the first."""
        try:
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.flush()
        except OSError as error:
            if not self._refused:
                self._refused = True
                sys.stderr.write(f"{self.baseFilename}: the log is not whole ({error.strerror})\n")
