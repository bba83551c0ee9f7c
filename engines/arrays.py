"""Arrays out of `.npz` files that somebody else may have written, or damaged."""

import zipfile
import zlib
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np


def read_npz(
    path: Path, names: Iterable[str] | None = None, but: Container[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of a file; others than asked for are not touched, and pickled objects never
    loaded.

    Args:
        path: of the file.
        names: the arrays to read, as far as they are there; all when None.
        but: leave these out.

    Raises:
        ValueError: if the file cannot be opened, is no `.npz`, is damaged or holds objects; says
            which.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("one array where a file of named ones is expected")
        with file:
            wanted = file.files if names is None else [name for name in names if name in file.files]
            return {name: file[name] for name in wanted if name not in but}
    except (
        OSError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # zipfile: encrypted, odd method
        raise ValueError(str(error) or "it is empty") from error
