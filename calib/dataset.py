"""A model's predicted covariances and its true errors on held-out people, as one `.npz`.

`trainer.calibrate` runs the model and writes the file; `calib.uncertainty` fits on one such file
and measures on another.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from engines.arrays import read_npz
from engines.errors import PenumbraError
from engines.uncertainty import MAX_TEXT


@dataclass(frozen=True)
class CalibrationDataset:
    """Predictions and errors on N images with ground truth."""

    error: Float[np.ndarray, "N 24 3"]
    """Ground truth minus best estimate, metres, the common distance removed from both."""
    cov: Float[np.ndarray, "N 24 3 3"]
    """Uncalibrated covariances, square metres."""
    ray: Float[np.ndarray, "N 3"]
    """Unit viewing rays."""
    visible: Bool[np.ndarray, "N 24"]
    """Visibility in the ground truth, by which visible and occluded joints are told apart."""
    p_visible: Float[np.ndarray, "N 24"]
    """The probability of it that the model predicts, which is all that a live system knows."""
    entropy: Float[np.ndarray, "N"]
    """Entropy of the posterior over bodies, nats."""
    landmark_visibility: Float[np.ndarray, "N 24"]
    """The landmark network's visibility of the joint, a baseline; NaN for joints without one."""
    distance_error: Float[np.ndarray, "N"]
    """Ground truth minus estimate of the distance along the ray, metres."""
    distance_std: Float[np.ndarray, "N"]
    """Uncalibrated standard deviation of that distance, metres."""
    data: str
    """What the images are, for people to read."""

    @property
    def size(self) -> int:
        """N, the number of images."""
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
            path: the `.npz`.
            argument: what the caller calls the file, for error messages.

        Raises:
            PenumbraError: the file is missing, damaged, or not one of these.
        """
        try:
            arrays = read_npz(path, (*_SHAPES, "data"))
            data = str(arrays.pop("data"))
            if len(data) > MAX_TEXT or not data.isprintable():
                raise ValueError(f"data is no text of at most {MAX_TEXT} characters")
            if missing := _SHAPES.keys() - arrays.keys():
                raise KeyError(*sorted(missing))
        except (KeyError, ValueError) as error:
            raise PenumbraError(
                f"{argument}: {path} is not an errors file ({error}); {_REMEDY}."
            ) from error
        count = len(arrays["ray"])
        if count == 0:
            raise PenumbraError(f"{argument}: {path} holds no images; {_REMEDY}.")
        for name, shape in _SHAPES.items():
            _check(arrays[name], name, (count, *shape), f"{argument}: {path}")
        wide = {
            name: a.astype(bool) if name == "visible" else a.astype(np.float64)
            for name, a in arrays.items()
        }
        return CalibrationDataset(data=data, **wide)


def _check(array: np.ndarray, name: str, shape: tuple[int, ...], file: str) -> None:
    if array.dtype.kind not in "fiub":
        raise PenumbraError(f"{file} holds {name} of type {array.dtype}; {_REMEDY}.")
    if array.shape != shape:
        raise PenumbraError(
            f"{file} holds {name} of shape {array.shape} where {shape} is expected; {_REMEDY}."
        )
    if name != "landmark_visibility" and not np.isfinite(array).all():
        raise PenumbraError(f"{file} holds {name} with numbers that are not finite; {_REMEDY}.")


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
_REMEDY = "write it with python -m trainer.calibrate"
assert {*_SHAPES, "data"} == {field.name for field in fields(CalibrationDataset)}
