"""What a command prints: safe for the terminal, and never the end of a run.

Text from outside is escaped; a reader who has gone, or a full disk behind stdout, ends the printing
and nothing else.
"""

import contextlib
import errno
import logging
import sys
from collections.abc import Callable

from engines.command import discard
from engines.printable import printable


class Console:
    """Writes lines to stdout until that fails."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        """Why nothing more is written; a reader who has seen enough (`| head`) is no error."""
        self._open = sys.stdout is not None

    def say(self, text: str) -> None:
        """Write a line, at once. Never raises."""
        if not self._open:
            return
        try:
            print(text, flush=True)
        except OSError as error:
            self._open = False
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: the terminal is gone
                self.error = error
            discard(sys.stdout.fileno())


def complain(text: str) -> None:
    """Write a printable line to stderr. Never raises."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(printable(text), file=sys.stderr, flush=True)


class PrintableFormatter(logging.Formatter):
    """Log messages as one printable line each."""

    def __init__(self, rewrite: Callable[[str], str]) -> None:
        super().__init__()
        self._rewrite = rewrite

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        return printable(self._rewrite(super().formatMessage(record)))
