"""Landmarks that were found before: the archive of a run, or a file that has nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.arrays import read_npz
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.types import NUM_LANDMARKS, FrameInfo, LandmarkNetwork, Landmarks, Roi, World

_NAMES = ("landmarks", "camera_matrix", "image_size", "frame", "t", "found", "track_id", "meta")
_OF_HEATMAPS = ("landmark_presence", "landmark_peak")
_CAMERA = ("image_size", "camera_matrix", "camera_distortion", "camera", "images")
_WORLD = ("T_world_cam", "up_cov", "floor_std", "world_given")
Frame = tuple[FrameInfo, tuple[tuple[int, Landmarks], ...], Intrinsics, World | None]


@dataclass(frozen=True)
class FoundLandmarks:
    """N rows: a person in a frame, or a frame without anybody."""

    points: Float[np.ndarray, "N 33 3"]
    """x px, y px, visibility."""
    presence: Float[np.ndarray, "N 33"]
    """NaN where the file does not say, as of archives before format 6."""
    peak: Float[np.ndarray, "N 33"]
    """Likewise, and of landmarks that came without heatmaps."""
    frame: Int[np.ndarray, "N"]
    t: Float[np.ndarray, "N"]
    """Seconds."""
    found: Bool[np.ndarray, "N"]
    track_id: Int[np.ndarray, "N"]
    cameras: dict[int, Intrinsics]
    """By frame, where it has one of its own; -1: of all others."""
    network: LandmarkNetwork
    worlds: dict[int, World]
    """By frame, where it is known."""
    about_cameras: dict[str, object]
    """What `cameras` says, in the words of an archive's `meta`."""

    @property
    def know_heatmaps(self) -> bool:
        """Whether the peaks of people's heatmaps are known."""
        return bool(np.isfinite(self.peak[self.found]).any())

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in the order in which they are stored."""
        starts = np.flatnonzero(np.diff(self.frame, prepend=self.frame[0] - 1))
        for rows in np.split(np.arange(len(self.frame)), starts[1:]):
            number = int(self.frame[rows[0]])
            camera = self.cameras.get(number) or self.cameras[-1]
            people = tuple(
                (int(self.track_id[row]), self._landmarks(int(row), camera.size))
                for row in rows
                if self.found[row]
            )
            info = FrameInfo(number, 0, float(self.t[rows[0]]))
            yield info, people, camera, self.worlds.get(number)

    def _landmarks(self, row: int, size: tuple[int, int]) -> Landmarks:
        points = self.points[row, :, :2].astype(np.float64)
        visibility = np.clip(self.points[row, :, 2].astype(np.float64), 0.0, 1.0)
        presence = self.presence[row].astype(np.float64)
        middle, extent = (points.max(0) + points.min(0)) / 2, float(np.ptp(points, 0).max())
        inside = ((points >= 0) & (points < np.array(size))).all(-1)
        return Landmarks(
            points=points,
            depth=np.zeros(NUM_LANDMARKS),
            visibility=visibility,
            presence=np.where(np.isnan(presence), np.where(inside, 1.0, visibility), presence),
            peak=self.peak[row].astype(np.float64),
            world=np.zeros((NUM_LANDMARKS, 3)),
            score=1.0,
            roi=Roi(middle, extent, 0.0),
            network=self.network,
        )


def read_landmarks(path: Path) -> FoundLandmarks:
    """Read a file.

    Raises:
        PenumbraError: it cannot be read, or lacks landmarks or their camera.
    """
    try:
        arrays = read_npz(path, (*_NAMES, *_OF_HEATMAPS, *_WORLD))
        return _checked(arrays)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise PenumbraError(
            f"source: {path} cannot be fitted ({reason}); give an archive of a run, or landmarks "
            "with camera_matrix and image_size."
        ) from error


def _checked(arrays: dict[str, np.ndarray]) -> FoundLandmarks:
    points = arrays["landmarks"]
    count = len(points)
    if points.shape != (count, NUM_LANDMARKS, 3) or points.dtype.kind != "f" or count == 0:
        raise ValueError(f"landmarks: {points.dtype} {points.shape} is not (N, 33, 3)")
    default = {
        "frame": np.arange(count),
        "t": np.arange(count) / 30.0,
        "found": np.isfinite(points).all((1, 2)),
        "track_id": np.zeros(count, int),
    }
    rows = {name: np.asarray(arrays.get(name, value)) for name, value in default.items()}
    for name, value in rows.items():
        if value.shape != (count,):
            raise ValueError(f"{name}: {value.shape} is not ({count},)")
    found = rows["found"].astype(bool)
    if not np.isfinite(points[found]).all():
        raise ValueError("landmarks of a person are not finite")
    presence, peak = (_probabilities(arrays, name, count) for name in _OF_HEATMAPS)
    meta = json.loads(str(arrays["meta"])) if "meta" in arrays else {}
    network = meta.get("landmark_network", "full")
    about_cameras = _about_cameras(arrays, meta)
    return FoundLandmarks(
        points=points,
        presence=presence,
        peak=peak,
        frame=rows["frame"].astype(int),
        t=rows["t"].astype(float),
        found=found,
        track_id=rows["track_id"].astype(int),
        cameras=_cameras(about_cameras),
        network=network if network in get_args(LandmarkNetwork) else "full",
        worlds=_worlds(arrays, rows["frame"]),
        about_cameras=about_cameras,
    )


def _probabilities(
    arrays: dict[str, np.ndarray], name: str, count: int
) -> Float[np.ndarray, "N 33"]:
    """An array of probabilities, NaN where it does not say; NaN throughout where it is missing."""
    values = np.asarray(arrays.get(name, np.full((count, NUM_LANDMARKS), np.nan)))
    if values.shape != (count, NUM_LANDMARKS) or values.dtype.kind != "f":
        raise ValueError(f"{name}: {values.dtype} {values.shape} is not (N, 33)")
    if not ((values >= 0) & (values <= 1) | np.isnan(values)).all():
        raise ValueError(f"{name}: has numbers outside 0 to 1")
    return values


def _about_cameras(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> dict[str, Any]:
    """What an archive says of its cameras; a file of landmarks has its camera in arrays."""
    if "camera_matrix" not in arrays:
        return {name: meta[name] for name in _CAMERA if name in meta}
    size, matrix = (arrays[name].tolist() for name in ("image_size", "camera_matrix"))
    return dict(zip(_CAMERA, (size, matrix, [], "given"), strict=False))


def _cameras(about: dict[str, Any]) -> dict[int, Intrinsics]:
    """Cameras by frame."""
    stated = {int(one["frame"]): one for one in about.get("images", [])}
    if "camera_matrix" in about:
        stated[-1] = about
    if not stated:
        raise KeyError("camera_matrix")
    return {
        number: _camera(
            one["camera_matrix"], one["image_size"], one["camera_distortion"], one["camera"]
        )
        for number, one in stated.items()
    }


def _camera(matrix: object, size: object, dist: object, source: str) -> Intrinsics:
    K, (width, height) = np.asarray(matrix, float), np.asarray(size, int).tolist()
    if K.shape != (3, 3) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise ValueError("camera_matrix is none")
    lens = tuple(np.asarray(dist, float).tolist())
    return Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], (width, height), lens, source)


def _worlds(arrays: dict[str, np.ndarray], frame: Int[np.ndarray, "N"]) -> dict[int, World]:
    if not all(name in arrays for name in _WORLD):
        return {}
    T, up_cov, floor_std, given = (arrays[name] for name in _WORLD)
    return {
        int(number): World(
            T[i].astype(float),
            up_cov[i].astype(float),
            float(floor_std[i]),
            "given" if given[i] else "estimated",
        )
        for i, number in enumerate(frame)
        if np.isfinite(T[i]).all()
    }
