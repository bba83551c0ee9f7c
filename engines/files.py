"""Read files of others, which may be anything and of any size."""

import os
import stat
from pathlib import Path


def os_flags(*names: str) -> int:
    """Flags of `os.open` by name, as far as this system has them."""
    return sum(getattr(os, name, 0) for name in names)


READ_FLAGS = os.O_RDONLY | os_flags("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
"""For `os.open` of a file of others: it does not wait for who may write into a pipe."""


def read_at_most(path: Path, limit: int) -> bytes:
    """The content of a regular file.

    Args:
        path: the file; a link is followed.
        limit: how many bytes it may have. Larger files are refused before they are read, and
            nothing is allocated but what the file holds.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is no regular file, or larger than `limit`.
    """
    descriptor = os.open(path, READ_FLAGS)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a regular file")
        if status.st_size > limit:
            raise ValueError(f"is larger than {limit} bytes")
        content = file.read(status.st_size + 1)
    if len(content) > limit:  # it grew since
        raise ValueError(f"is larger than {limit} bytes")
    return content
