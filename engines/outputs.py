"""Output files: what may be written where, and how a result takes its name in one step.

    with open_output(out, "out", ".npz") as output:
        output.write(data)
        output.commit()

A result is written to a scratch file beside it (`walk.npz.3f9c1a7e5b2d4860.partial`), which is
created exclusively under a name that cannot be guessed, and renamed at the end. Until then nothing
that existed before is changed, so all outputs are opened before any of them is committed. Only
regular files are ever replaced, and only with `force`; links, devices, pipes, sockets and folders
are refused, whoever runs the program.

The scratch file carries the lock as well: a second run with the same output finds it locked and is
refused (`engines.locks`).
"""

import contextlib
import errno
import io
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.errors import PenumbraError
from engines.files import os_flags
from engines.locks import in_use, lock, locked_folder

log = logging.getLogger(__name__)

_TOKEN_BYTES = 8


class WholeFile(io.FileIO):
    """An unbuffered file that takes all that is written.

    The system may take a part only, such as what still fits on the disk. Most callers, `zipfile`
    among them, do not look; here the rest is tried as well, which says why it cannot be written.
    """

    def write(self, data: Any, /) -> int:
        """Write all bytes of a buffer, and return their number.

        Raises:
            OSError: They cannot all be written.
        """
        whole = memoryview(data).cast("B")
        rest = whole
        while rest:
            taken = super().write(rest)
            assert taken, "the file blocks"
            rest = rest[taken:]
        return len(whole)


class OutputFile:
    """One output while it is being written; made by `open_output`.

    A context manager: an output that was neither committed nor kept is discarded at its end.
    """

    def __init__(self, path: Path, argument: str, force: bool, scratch_suffix: str) -> None:
        self.path = path
        """Where the result will be."""
        self.argument = argument
        """How messages call this output, for example `out`."""
        self._force = force
        self._open = True
        self.scratch, self.file = self.create_scratch(scratch_suffix)
        """The scratch file, which carries the lock, and its unbuffered handle."""

    def create_scratch(self, suffix: str) -> tuple[Path, WholeFile]:
        """Create another scratch file beside the result; the caller commits or removes it.

        Raises:
            OSError: the folder does not allow it.
        """
        token = secrets.token_hex(_TOKEN_BYTES)
        scratch = self.path.with_name(f"{self.path.name}.{token}{suffix}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        flags |= os_flags("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
        descriptor = os.open(scratch, flags, 0o666)  # less the umask
        return scratch, WholeFile(descriptor, "r+")

    def write(self, data: bytes) -> None:
        """Append to the scratch file.

        Raises:
            PenumbraError: it cannot be written, for example on a full disk.
        """
        with _cannot_be_written(self.path, self.argument):
            self.file.write(data)

    def commit(self, scratch: Path | None = None) -> None:
        """Give the result its name, in one step and on the disk.

        The handle stays open: a file that is readable at any time, such as a fragmented MP4, may be
        committed first and written on.

        Args:
            scratch: made by `create_scratch`; `self.scratch` when None.

        Raises:
            PenumbraError: the name cannot be taken; the scratch file stays and is named.
            OSError: the data cannot be written to the disk; the scratch file stays.
        """
        scratch = scratch or self.scratch
        if scratch == self.scratch:
            self._open = False  # it is complete: whatever fails now, nothing is removed
        _sync(scratch)
        try:
            if self._force:
                _refuse_special(self.path, self.argument)
                os.replace(scratch, self.path)
            else:
                _rename_to_new(scratch, self.path)
        except (OSError, PenumbraError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise PenumbraError(
                f"{self.argument}: '{self.path}' cannot be given its name ({reason}); "
                f"the result is complete in '{scratch}', rename that."
            ) from error
        with contextlib.suppress(OSError):  # some filesystems do not sync folders
            _sync(self.path.parent)

    def keep(self) -> None:
        """Close the scratch file and leave it where it is, for a repair."""
        self._open = False
        self.file.close()

    def discard(self) -> None:
        """Remove the scratch file, unless it has been committed; what was at `path` stays."""
        if self._open:
            self._open = False
            self.scratch.unlink(missing_ok=True)
        self.file.close()

    def __enter__(self) -> "OutputFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.discard()


def open_output(
    path: Path,
    argument: str,
    suffix: str,
    *,
    force: bool = False,
    scratch_suffix: str = ".partial",
) -> OutputFile:
    """Claim `path` for a result without changing anything that is there.

    Args:
        path: The result.
        argument: How messages call it, for example `out`.
        suffix: What the name has to end in, for example `.npz`.
        force: Replace a regular file that exists already.
        scratch_suffix: End of the scratch file's name.

    Raises:
        PenumbraError: The name is wrong or taken, another run is writing there, or the folder does
            not allow a file.
    """
    check_output(path, argument, suffix, force=force)
    with _cannot_be_written(path, argument):
        folder = path.parent.resolve(strict=True)
        with locked_folder(folder):
            _refuse_taken(path, argument, force)
            _refuse_in_use(folder / path.name, argument)
            output = OutputFile(folder / path.name, argument, force, scratch_suffix)
            lock(output.file.fileno())
    return output


def check_output(path: Path, argument: str, suffix: str, *, force: bool = False) -> None:
    """Refuse what `open_output` would, as far as can be told without claiming the name.

    Args:
        path, argument, suffix, force: as `open_output` has them.

    Raises:
        PenumbraError: The name is wrong or taken, or there is no such folder.
    """
    if path.suffix.lower() != suffix:
        raise PenumbraError(
            f"{argument}: '{path}' does not end in {suffix}, and nothing else can be written; "
            f"give a name that ends in {suffix}."
        )
    with _cannot_be_written(path, argument):
        path.parent.resolve(strict=True)
        _refuse_taken(path, argument, force)


@contextlib.contextmanager
def _cannot_be_written(path: Path, argument: str) -> Iterator[None]:
    """Turn errors of the system into one that names the output."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        # Before Python 3.13 a loop of links is a RuntimeError; a zero byte is a ValueError.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PenumbraError(
            f"{argument}: '{path}' cannot be written ({reason}); choose a folder that exists, "
            "allows it and has room."
        ) from error


def _refuse_taken(path: Path, argument: str, force: bool) -> None:
    _refuse_special(path, argument)
    if os.path.lexists(path) and not force:
        raise PenumbraError(
            f"{argument}: '{path}' exists already; choose another name, or set `force` "
            "to replace it."
        )


def scratch_files(path: Path) -> list[Path]:
    """Scratch files beside `path` that runs with this output have left or are writing."""
    name = re.compile(re.escape(path.name) + rf"\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}\.\w+")
    try:
        return sorted(file for file in path.parent.iterdir() if name.fullmatch(file.name))
    except OSError:  # a folder may be written to that cannot be listed
        return []


def _refuse_in_use(path: Path, argument: str) -> None:
    left = scratch_files(path)
    if in_use(path) or any(in_use(scratch) for scratch in left):
        raise PenumbraError(
            f"{argument}: '{path}' is being written by another run; wait for its end, or choose "
            "another name."
        )
    for scratch in left:
        log.warning("'%s' is left from a run that was killed", scratch)


def _refuse_special(path: Path, argument: str) -> None:
    """Refuse everything that has this name but is not a regular file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe"}
    kind = kinds.get(stat.S_IFMT(mode), "a device or socket")
    raise PenumbraError(f"{argument}: '{path}' is {kind}; give the name of a regular file.")


def _rename_to_new(scratch: Path, path: Path) -> None:
    """Rename without replacing what may have appeared at `path` meanwhile."""
    try:
        os.link(scratch, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a filesystem without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        scratch.rename(path)
    else:
        scratch.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
