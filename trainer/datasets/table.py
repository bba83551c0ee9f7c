"""Annotation files of datasets: named columns of an `.npz`, one row for each person.

Columns are checked as they are taken out.
"""

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
    """The columns of a file; `path` is for messages."""

    path: Path
    columns: dict[str, np.ndarray]

    @staticmethod
    def read(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> "Table":
        """Read some columns; others are not touched, and pickled objects never.

        Raises:
            PenumbraError: the file is missing or broken, lacks a required column or holds objects.
        """
        if not path.is_file():
            raise PenumbraError(f"{path}: there is no such dataset file; check `root`.")
        try:
            columns = read_npz(path, (*required, *optional))
        except ValueError as error:
            raise PenumbraError(
                f"{path}: not an .npz of plain arrays ({error}); check the file."
            ) from error
        missing = [key for key in required if key not in columns]
        if missing:
            raise PenumbraError(
                f"{path}: lacks {', '.join(missing)}; give the annotation file of this dataset."
            )
        table = Table(path, columns)
        if not table.count:
            raise PenumbraError(
                f"{path}: holds no person, its {required[0]} is empty; give another file."
            )
        return table

    @property
    def count(self) -> int:
        """Rows of the first column."""
        return len(np.atleast_1d(next(iter(self.columns.values()))))

    def __contains__(self, key: str) -> bool:
        """Whether the file has this column."""
        return key in self.columns

    def numbers(self, key: str, *shape: int) -> Float[np.ndarray, "N ..."]:
        """Take a column of numbers with `shape` in each row, as float64.

        Raises:
            PenumbraError: it has another shape, or no numbers.
        """
        column = self.columns[key]
        wanted = (self.count, *shape)
        if column.shape != wanted:
            raise PenumbraError(
                f"{self.path}: {key} has shape {column.shape}, not {wanted}; check the file."
            )
        if column.dtype.kind not in "fiub":
            raise PenumbraError(
                f"{self.path}: {key} holds {column.dtype}, not numbers; check the file."
            )
        return column.astype(np.float64)

    def words(self, key: str) -> list[str]:
        """Take a column of text, one piece a row; bytes are read as UTF-8.

        Raises:
            PenumbraError: it has another shape, or no text.
        """
        column = self.columns[key]
        if column.shape != (self.count,) or column.dtype.kind not in "US":
            raise PenumbraError(
                f"{self.path}: {key} is {column.dtype} {column.shape}, not {self.count} pieces of"
                " text; check the file."
            )
        try:
            return [
                word.decode("utf-8") if isinstance(word, bytes) else word
                for word in column.tolist()
            ]
        except UnicodeDecodeError as error:
            raise PenumbraError(
                f"{self.path}: {key} is not text in UTF-8 ({error}); check the file."
            ) from error

    def boxes(
        self, scale: Float[np.ndarray, "N"]
    ) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
        """Take `center`, and check it and the sides of the boxes.

        Raises:
            PenumbraError: a box has no sensible numbers.
        """
        center = self.numbers("center", 2)
        bad = ~(np.isfinite(center).all(1) & np.isfinite(scale) & (scale > 0))
        if bad.any():
            raise PenumbraError(
                f"{self.path}: row {int(bad.argmax())} has no sensible box (center, scale); leave"
                " it out."
            )
        return center, scale

    def genders(self) -> tuple[str, ...] | None:
        """Take `gender`, spelled as `People.gender`; None where the file has none."""
        if "gender" not in self:
            return None
        return tuple(GENDERS.get(word.lower(), "") for word in self.words("gender"))

    def smpl(
        self, pose: str, shape: str, flagged: Bool[np.ndarray, "N"]
    ) -> tuple[Float[np.ndarray, "N 24 3"], Float[np.ndarray, "N 10"], Bool[np.ndarray, "N"]]:
        """Take `rotvec`, `betas` and `has_smpl`; known where flagged and finite, NaN elsewhere.

        Raises:
            PenumbraError: a column has another shape, or no numbers.
        """
        rotvec = self.numbers(pose, 3 * NUM_JOINTS).reshape(-1, NUM_JOINTS, 3)
        betas = self.numbers(shape, NUM_BETAS)
        known = flagged & np.isfinite(rotvec).all((1, 2)) & np.isfinite(betas).all(1)
        rotvec[~known] = np.nan
        betas[~known] = np.nan
        return rotvec, betas, known
