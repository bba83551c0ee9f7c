"""Outputs that must not be an input or another output, by whatever name or link."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from engines.errors import PenumbraError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:(?=//)", re.IGNORECASE)


def check_distinct(outputs: Mapping[str, Path | None], inputs: Mapping[str, object]) -> None:
    """Refuse an output that is also an input or another output, by whatever name or link.

    Args:
        outputs: Argument name to path.
        inputs: What is read, by the name that messages use: paths, or the text of a source (a
            path, a folder of images, or an address).

    Raises:
        PenumbraError: Two of them are the same file.
    """
    taken = {
        _identity(file): name
        for name, value in inputs.items()
        if value is not None
        for file in _files_of(str(value))
    }
    for argument, path in outputs.items():
        if path is None:
            continue
        identity = _identity(path)
        if identity in taken:
            raise PenumbraError(
                f"{argument}: '{path}' is also {taken[identity]}; choose another file."
            )
        taken[identity] = argument


def _files_of(source: str) -> list[Path]:
    """The local files behind a path, a folder, or an address such as `file:///home/me/walk.mp4`."""
    parts = source.split("|") if _ADDRESS.match(source) else [source]  # concat:///a.ts|b.ts
    files = [Path(_ADDRESS.sub("", part)).expanduser() for part in parts]
    try:
        return [*files, *(file for folder in files if folder.is_dir() for file in folder.iterdir())]
    except OSError:
        return files


def _identity(path: Path) -> tuple[object, ...]:
    """What two names of one file share: device and inode, or those of the folder and the name."""
    try:
        found = path.stat()
        return found.st_dev, found.st_ino
    except (OSError, ValueError):
        pass
    try:
        folder = path.parent.stat()
        return folder.st_dev, folder.st_ino, path.name
    except (OSError, ValueError):
        return (os.path.abspath(path),)
