"""The folder in which networks that were imported or compiled once are kept for the next start.

It is `$PENUMBRA_CACHE`, or `~/.cache/penumbra`. Whatever lies in it can be made again, so it may be
deleted at any time.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from engines.errors import PenumbraError


def cache_folder() -> Path:
    """Return `$PENUMBRA_CACHE`, or `~/.cache/penumbra`; it need not exist."""
    chosen = os.environ.get("PENUMBRA_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "penumbra"


def writable_folder(name: str) -> Path:
    """Return the folder `name` of the cache, made if it is not there.

    Raises:
        PenumbraError: if files cannot be written there.
    """
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(folder)
    return folder


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file of the cache so that a reader finds all of it or none.

    Two processes may write the same file at once, and either may be killed while it does.

    Raises:
        PenumbraError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(scratch, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(scratch)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError | None = None) -> PenumbraError:
    why = f" ({error.strerror})" if error is not None else ""
    return PenumbraError(
        f"PENUMBRA_CACHE: cannot write {path}{why}; name a folder that can be written to."
    )
