"""What a model promised and what came of it, as one `.npz` of plain arrays: the food of `calib.fit`
and `calib.report`.

Who can run the model writes the file (`trainer.calibrate`); everything here is without units of its
own: metres, square metres, probabilities.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from engines.arrays import read_npz
from engines.errors import PenumbraError


@dataclass(frozen=True)
class CalibrationDataset:
    """N pictures with known truth."""

    error: Float[np.ndarray, "N 24 3"]
    """Truth minus best estimate, metres, the common distance removed from both."""
    cov: Float[np.ndarray, "N 24 3 3"]
    """Uncalibrated covariances, square metres."""
    ray: Float[np.ndarray, "N 3"]
    """Unit viewing rays."""
    visible: Bool[np.ndarray, "N 24"]
    """The true visibility: what the shares of seen and occluded joints are counted by."""
    p_visible: Float[np.ndarray, "N 24"]
    """The model's own probability of it, which is all that a live system knows."""
    entropy: Float[np.ndarray, "N"]
    """Of the posterior over bodies, nats."""
    landmark_visibility: Float[np.ndarray, "N 24"]
    """What the landmark network said of the joint's landmark; NaN for joints that have none. A
    baseline to beat.
    """
    distance_error: Float[np.ndarray, "N"]
    """Truth minus estimate of the distance along the ray, metres."""
    distance_std: Float[np.ndarray, "N"]
    """Its uncalibrated standard deviation."""
    data: str
    """What pictures these are, for people to read."""

    @property
    def size(self) -> int:
        """N."""
        return len(self.ray)

    def save(self, path: Path) -> None:
        """Write an `.npz`; float32 is enough for what was measured in millimetres."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _SHAPES}
        small = {
            name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in arrays.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:  # a name without .npz stays as it is
            np.savez_compressed(file, data=np.array(self.data), **small)

    @staticmethod
    def load(path: Path, argument: str) -> "CalibrationDataset":
        """Read what `save` wrote.

        Args:
            path: of the `.npz`.
            argument: what the user called it, for the error message.

        Raises:
            PenumbraError: if the file is missing, damaged, or not one of these.
        """
        try:
            arrays = read_npz(path, (*_SHAPES, "data"))
            data = str(arrays.pop("data"))
            if missing := _SHAPES.keys() - arrays.keys():
                raise KeyError(*sorted(missing))
        except (KeyError, ValueError) as error:
            raise PenumbraError(
                f"{argument}: {path} is not an errors file ({error}); write one with python -m trainer.calibrate."
            ) from error
        count = len(arrays["ray"])
        for name, shape in _SHAPES.items():
            array = arrays[name]
            if array.shape != (count, *shape) or (
                name != "landmark_visibility" and not np.isfinite(array).all()
            ):
                raise PenumbraError(
                    f"{argument}: {path} has '{name}' of shape {array.shape} or with numbers that are not finite; "
                    "write it again with python -m trainer.calibrate."
                )
        if count == 0:
            raise PenumbraError(f"{argument}: {path} holds no pictures; give one that does.")
        wide = {
            name: a.astype(bool) if name == "visible" else a.astype(np.float64)
            for name, a in arrays.items()
        }
        return CalibrationDataset(data=data, **wide)


_SHAPES = {
    "error": (24, 3),
    "cov": (24, 3, 3),
    "ray": (3,),
    "visible": (24,),
    "p_visible": (24,),
    "entropy": (),
    "landmark_visibility": (24,),
    "distance_error": (),
    "distance_std": (),
}
assert {*_SHAPES, "data"} == {field.name for field in fields(CalibrationDataset)}
