"""Results of experiments that are computed once: a JSON file of cells, written after each."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from engines.errors import PenumbraError
from engines.files import read_at_most

Values = dict[str, float]
_MAX_BYTES = 2**22


def sha256_of_assets(others: Iterable[Path] = ()) -> str:
    """Name what results depend on beside their options: what is shipped but the flow, other files.

    Raises:
        PenumbraError: one of the others cannot be read.
    """
    digest = hashlib.sha256()
    with as_file(files("engines") / "assets") as assets:
        shipped = [
            assets / "body.npz",
            *sorted((assets / "priors").glob("*.npz")),
            *sorted((assets / "calibration").glob("*.json")),
        ]
        for path in (*shipped, *others):
            try:
                digest.update(path.read_bytes())
            except OSError as error:
                raise PenumbraError(
                    f"poses, names: cannot read {path} ({error.strerror}); name files that exist."
                ) from error
    return digest.hexdigest()


class Results:
    """Cells of tables by name, with the options that they were computed with."""

    def __init__(self, path: Path, options: Mapping[str, object]) -> None:
        """Read what was computed before.

        Args:
            path: the file; a new one where there is none.
            options: of the experiment, as JSON.

        Raises:
            PenumbraError: the file is none of these, or of other options.
        """
        self._path = path
        self._options = json.loads(json.dumps(options, default=str))
        self._cells: dict[str, Values] = {}
        if not path.exists():
            return
        try:
            kept = json.loads(read_at_most(path, _MAX_BYTES))
            self._cells = kept["cells"]
            same = kept["options"] == self._options
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PenumbraError(
                f"out: {path} holds no results ({error}); delete it, or name another folder."
            ) from error
        if not same:
            raise PenumbraError(f"out: {path} holds results of other options; name another folder.")

    def get(self, name: str) -> Values | None:
        """Return a cell; None where it was not computed."""
        return self._cells.get(name)

    def cell(self, name: str, compute: Callable[[], Values]) -> Values:
        """Return a cell, computed and kept where it is missing."""
        if name not in self._cells:
            self._cells[name] = compute()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._path.with_suffix(".tmp")
            text = json.dumps({"options": self._options, "cells": self._cells}, indent=1)
            scratch.write_text(text + "\n")
            scratch.replace(self._path)
        return self._cells[name]
