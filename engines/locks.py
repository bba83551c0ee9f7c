"""Locks on files and folders, held by an open descriptor (`flock`).

The kernel releases them with the process, so `kill -9` leaves nothing that blocks the next run.
Where a system or a filesystem has none, nothing is locked and nothing counts as in use.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: there is no lock, the rest holds
    fcntl = None


def in_use(path: Path) -> bool:
    """Whether a running program of ours is writing this file."""
    if fcntl is None:
        return False
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError:  # gone, a link, or not ours to read
        return False
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time look for scratch files and create its own."""
    descriptor = None
    if fcntl is not None:
        with contextlib.suppress(OSError):  # not readable, or a filesystem without locks
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _wait_for_lock(descriptor)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_for_lock(descriptor: int, patience_s: float = 1.0) -> None:
    """Take the lock, but do not hang where some other program never lets go of it."""
    assert fcntl is not None
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)


def lock(descriptor: int) -> None:
    """Take the lock of a file that nobody else knows yet."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a filesystem without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
