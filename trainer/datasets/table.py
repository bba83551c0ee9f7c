"""The `.npz` files of datasets: named columns, one row a person, checked as they are taken out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from engines.arrays import read_npz
from engines.errors import PenumbraError
from engines.types import NUM_BETAS, NUM_JOINTS
from trainer.datasets.people import GENDERS


@dataclass(frozen=True)
class Table:
    """Columns of a file; `path` is for messages."""

    path: Path
    columns: dict[str, np.ndarray]

    @staticmethod
    def read(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> "Table":
        """Read some columns; others are not touched, and pickled objects never.

        Raises:
            PenumbraError: the file is missing or broken, lacks a required column or holds objects.
        """
        if not path.is_file():
            raise PenumbraError(f"There is no dataset file {path}; check --root.")
        try:
            columns = read_npz(path, (*required, *optional))
        except ValueError as error:
            raise PenumbraError(f"{path} is not an .npz of plain arrays ({error}).") from error
        missing = [key for key in required if key not in columns]
        if missing:
            raise PenumbraError(
                f"{path} lacks {', '.join(missing)}; is it the annotation file of this dataset?"
            )
        table = Table(path, columns)
        if not table.count:
            raise PenumbraError(f"{path} holds nobody: its {required[0]} is empty.")
        return table

    @property
    def count(self) -> int:
        """Rows of the first column."""
        return len(np.atleast_1d(next(iter(self.columns.values()))))

    def __contains__(self, key: str) -> bool:
        """Whether the file has this column."""
        return key in self.columns

    def numbers(self, key: str, *shape: int) -> Float[np.ndarray, "N ..."]:
        """A column of numbers with `shape` in each row, as float64.

        Raises:
            PenumbraError: it has another shape, or no numbers.
        """
        column, wanted = self.columns[key], (self.count, *shape)
        if column.shape != wanted:
            raise PenumbraError(
                f"In {self.path}, {key} has shape {column.shape} where {wanted} is expected."
            )
        if column.dtype.kind not in "fiub":
            raise PenumbraError(
                f"In {self.path}, {key} holds {column.dtype} where numbers are expected."
            )
        return column.astype(np.float64)

    def words(self, key: str) -> list[str]:
        """A column of text, one piece a row; bytes are read as UTF-8.

        Raises:
            PenumbraError: it has another shape, or no text.
        """
        column = self.columns[key]
        if column.shape != (self.count,) or column.dtype.kind not in "US":
            raise PenumbraError(
                f"In {self.path}, {key} is {column.dtype} {column.shape} where {self.count} pieces of text are expected."
            )
        try:
            return [
                word.decode("utf-8") if isinstance(word, bytes) else word
                for word in column.tolist()
            ]
        except UnicodeDecodeError as error:
            raise PenumbraError(f"In {self.path}, {key} is not text in UTF-8 ({error}).") from error

    def boxes(
        self, scale: Float[np.ndarray, "N"]
    ) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
        """`center` and the sides of the boxes, checked.

        Raises:
            PenumbraError: a box has no sensible numbers.
        """
        center = self.numbers("center", 2)
        bad = ~(np.isfinite(center).all(1) & np.isfinite(scale) & (scale > 0))
        if bad.any():
            raise PenumbraError(
                f"In {self.path}, row {int(bad.argmax())} has no sensible box (center, scale)."
            )
        return center, scale

    def genders(self) -> tuple[str, ...] | None:
        """Column `gender`, spelled as `People.gender`; None where the file has none."""
        if "gender" not in self:
            return None
        return tuple(GENDERS.get(word.lower(), "") for word in self.words("gender"))

    def smpl(
        self, pose: str, shape: str, flagged: Bool[np.ndarray, "N"]
    ) -> tuple[Float[np.ndarray, "N 24 3"], Float[np.ndarray, "N 10"], Bool[np.ndarray, "N"]]:
        """`rotvec`, `betas` and `has_smpl` from the two columns; known where flagged and finite,
        NaN elsewhere.

        Raises:
            PenumbraError: a column has another shape, or no numbers.
        """
        rotvec, betas = (
            self.numbers(pose, 3 * NUM_JOINTS).reshape(-1, NUM_JOINTS, 3),
            self.numbers(shape, NUM_BETAS),
        )
        known = flagged & np.isfinite(rotvec).all((1, 2)) & np.isfinite(betas).all(1)
        rotvec[~known], betas[~known] = np.nan, np.nan
        return rotvec, betas, known
