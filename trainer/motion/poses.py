"""The poses of all recordings, split by subject, in the file that `trainer.mocap` writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Integer

from engines.arrays import read_npz
from engines.errors import PenumbraError

Split = Literal["train", "val", "test"]
"""Split of the subjects, none of whom is in two."""
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Poses:
    """N frames of C clips, in the order of the clips."""

    rotvec: Float[np.ndarray, "N 24 3"]
    """Radians, world y up."""
    transl: Float[np.ndarray, "N 3"]
    """Metres."""
    clip: Int[np.ndarray, "N"]
    split: Integer[np.ndarray, "N"]
    """Index into `SPLITS`."""
    clip_names: np.ndarray
    """(C,)"""

    @staticmethod
    def load(path: Path) -> "Poses":
        """Read them.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        names = tuple(Poses.__dataclass_fields__)
        try:
            arrays = read_npz(path, names)
        except ValueError as error:
            raise PenumbraError(
                f"poses: cannot read {path} ({error}); write it with python -m trainer.mocap."
            ) from error
        if missing := [name for name in names if name not in arrays]:
            raise PenumbraError(
                f"poses: {path} lacks {', '.join(missing)}; write it with python -m trainer.mocap."
            )
        return Poses(**arrays)

    def of(self, split: Split) -> tuple[Float[np.ndarray, "M 24 3"], Int[np.ndarray, "M"]]:
        """Take the poses of one split's subjects, in double precision, and their clips.

        Raises:
            PenumbraError: if there are none.
        """
        chosen = self.split == SPLITS.index(split)
        if not chosen.any():
            raise PenumbraError(
                f"poses: there are none of {split} subjects; list clips of such in clips.csv and "
                "run python -m trainer.mocap again."
            )
        return self.rotvec[chosen].astype(np.float64), self.clip[chosen]
