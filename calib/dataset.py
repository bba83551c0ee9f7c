"""A model's predicted covariances and its true errors on held-out people, as one `.npz`.

`trainer.calibrate` runs the model and writes the file; `calib.uncertainty` fits on one such file
and measures on another.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.arrays import read_npz
from engines.calibration_metrics import MAX_STRATA, text
from engines.circumstances import Circumstances
from engines.errors import PenumbraError


@dataclass(frozen=True)
class CalibrationDataset:
    """Predictions and errors on N images with ground truth."""

    error: Float[np.ndarray, "N 24 3"]
    """Ground truth minus best estimate, metres, the common distance removed from both.

    NaN for joints whose ground truth is not known.
    """
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
    half_size: Float[np.ndarray, "N"]
    """Half the person's size on the plane z = 1."""
    heavy: Bool[np.ndarray, "N"]
    """Whether the heavy network found the landmarks."""
    landmark_visibility: Float[np.ndarray, "N 24"]
    """The landmark network's visibility of the joint, a baseline; NaN for joints without one."""
    distance_error: Float[np.ndarray, "N"]
    """Ground truth minus estimate of the distance along the ray, metres; NaN where unknown."""
    distance_std: Float[np.ndarray, "N"]
    """Uncalibrated standard deviation of that distance, metres."""
    stratum: Int[np.ndarray, "N"]
    """Which kind of image each is."""
    strata: tuple[str, ...]
    """Names of the kinds."""
    data: str
    """What the images are, for people to read."""

    @property
    def known(self) -> Bool[np.ndarray, "N 24"]:
        """The joints whose ground truth is known."""
        return np.isfinite(self.error).all(-1)

    @property
    def circumstances(self) -> Circumstances:
        """The circumstances of the images."""
        return Circumstances.of(self.cov, self.p_visible, self.entropy, self.half_size, self.heavy)

    def rows(self, index: Int[np.ndarray, "M"]) -> "CalibrationDataset":
        """Select images by number, repeated or not."""
        chosen = {name: getattr(self, name)[index] for name in _SHAPES}
        return CalibrationDataset(strata=self.strata, data=self.data, **chosen)

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
        partial = path.with_name(f"{path.name}.partial")  # a kill leaves what was there
        with partial.open("wb") as file:  # a name without .npz stays as it is
            about = {"data": np.array(self.data), "strata": np.array(self.strata)}
            np.savez_compressed(file, **about, **small)
        partial.replace(path)

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
            arrays = read_npz(path, (*_SHAPES, "data", "strata"))
            data = text(str(arrays.pop("data")))
            strata = tuple(text(str(name)) for name in np.atleast_1d(arrays.pop("strata")))
            if len(strata) > MAX_STRATA:
                raise ValueError(f"strata are at most {MAX_STRATA}")
            if missing := _SHAPES.keys() - arrays.keys():
                raise KeyError(*sorted(missing))
        except (KeyError, ValueError) as error:
            raise PenumbraError(
                f"{argument}: {path} is not an errors file ({error}); {_REMEDY}."
            ) from error
        count = len(np.atleast_1d(arrays["ray"]))
        if count == 0:
            raise PenumbraError(f"{argument}: {path} holds no images; {_REMEDY}.")
        for name, shape in _SHAPES.items():
            _check(arrays[name], name, (count, *shape), f"{argument}: {path}")
        for name in ("half_size", "distance_std"):
            if arrays[name].min() <= 0:
                raise PenumbraError(
                    f"{argument}: {path} holds {name} that is not positive; {_REMEDY}."
                )
        if (arrays["heavy"] > 1).any() or not _numbers_of(arrays["stratum"], len(strata)):
            raise PenumbraError(f"{argument}: {path} holds strata without a name; {_REMEDY}.")
        wide = {name: a.astype(_KINDS.get(name, np.float64)) for name, a in arrays.items()}
        return CalibrationDataset(data=data, strata=strata, **wide)


def _numbers_of(array: np.ndarray, count: int) -> bool:
    """Whether an array holds numbers from 0 to `count` - 1."""
    return bool(np.isin(array, np.arange(count)).all())


def _check(array: np.ndarray, name: str, shape: tuple[int, ...], file: str) -> None:
    if array.dtype.kind not in "fiub":
        raise PenumbraError(f"{file} holds {name} of type {array.dtype}; {_REMEDY}.")
    if array.shape != shape:
        raise PenumbraError(
            f"{file} holds {name} of shape {array.shape} where {shape} is expected; {_REMEDY}."
        )
    if name not in _MAY_BE_UNKNOWN and not np.isfinite(array).all():
        raise PenumbraError(f"{file} holds {name} with numbers that are not finite; {_REMEDY}.")


_SHAPES = {
    "error": (24, 3),
    "cov": (24, 3, 3),
    "ray": (3,),
    "visible": (24,),
    "p_visible": (24,),
    "entropy": (),
    "half_size": (),
    "heavy": (),
    "landmark_visibility": (24,),
    "distance_error": (),
    "distance_std": (),
    "stratum": (),
}
_KINDS = {"visible": bool, "heavy": bool, "stratum": np.int64}
_MAY_BE_UNKNOWN = ("error", "landmark_visibility", "distance_error")
_REMEDY = "write it with python -m trainer.calibrate"
assert {*_SHAPES, "data", "strata"} == {field.name for field in fields(CalibrationDataset)}
