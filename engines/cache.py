"""The folder in which networks and kernels that were translated or compiled are kept.

It is `$PENUMBRA_CACHE`, or `~/.cache/penumbra`. Whatever lies in it can be made again, so it may be
deleted at any time. Beside a file lies its SHA-256: a file that disks or people have damaged would
at best fail to load and at worst compute something else, so it is made again instead.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from engines.errors import PenumbraError


def cache_folder() -> Path:
    """Return `$PENUMBRA_CACHE`, or `~/.cache/penumbra`; it need not exist.

    Raises:
        PenumbraError: if neither is known.
    """
    chosen = os.environ.get("PENUMBRA_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path.home() / ".cache" / "penumbra"
    except RuntimeError as error:
        raise PenumbraError(
            "PENUMBRA_CACHE: is not set, and there is no home folder; name a folder that can be "
            "written to."
        ) from error


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


def store(path: Path, content: bytes) -> None:
    """Write a file of the cache and its digest.

    Raises:
        PenumbraError: if they cannot be written.
    """
    _write(path, content)
    _write(_digest_path(path), hashlib.sha256(content).hexdigest().encode())


def load(path: Path) -> bytes | None:
    """Read a file that `store` wrote; None where it is missing or damaged."""
    try:
        content = path.read_bytes()
        digest = _digest_path(path).read_text()
    except (OSError, ValueError):
        return None
    return content if hashlib.sha256(content).hexdigest() == digest else None


def seal(path: Path) -> None:
    """Store the digest of a file that a library wrote into the cache, if that is newer."""
    digest = _digest_path(path)
    with contextlib.suppress(OSError):
        if not digest.exists() or digest.stat().st_mtime_ns < path.stat().st_mtime_ns:
            _write(digest, hashlib.sha256(path.read_bytes()).hexdigest().encode())


def is_damaged(path: Path) -> bool:
    """Tell whether a file differs from the digest beside it; one without a digest does not."""
    return _digest_path(path).exists() and load(path) is None


def _write(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds all of it or none.

    Two processes may write the same file at once, and either may be killed while it does.
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


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _unwritable(path: Path, error: OSError | None = None) -> PenumbraError:
    why = f" ({error.strerror})" if error is not None else ""
    return PenumbraError(
        f"PENUMBRA_CACHE: cannot write {path}{why}; name a folder that can be written to."
    )
