"""Predicted uncertainty and errors of images before calibration.

Rendered samples know every joint. Footage knows the joints of its reference; there one shift of
all of them along the ray, the person's distance, is fitted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float

from calib.dataset import CalibrationDataset
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.circumstances import floored
from engines.types import LIMB_LANDMARKS, NUM_JOINTS, LandmarkNetwork, Landmarks, Roi
from trainer.data.augment import RawRecords, joints_in_camera
from trainer.estimation.prediction import TOGETHER, People, Prediction, Predictor
from trainer.evaluation.view_scores import ViewSample, without_common_distance


@dataclass(frozen=True)
class _Predicted:
    """What is said of one image; see `CalibrationDataset`."""

    cov: Float[np.ndarray, "24 3 3"]
    ray: Float[np.ndarray, "3"]
    p_visible: Float[np.ndarray, "24"]
    entropy: float
    half_size: float
    heavy: bool
    landmark_visibility: Float[np.ndarray, "24"]
    distance_std: float


@dataclass(frozen=True)
class ImageErrors:
    """One image's row of `CalibrationDataset`, without its stratum."""

    predicted: _Predicted
    error: Float[np.ndarray, "24 3"]
    visible: Bool[np.ndarray, "24"]
    distance_error: float


def of_records(
    predictor: Predictor, records: RawRecords, body: BodyModel, network: LandmarkNetwork = "full"
) -> list[ImageErrors]:
    """Estimate rendered samples, whose landmarks a network found, and compare with their labels."""
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    people = [observation(records, i, network) for i in range(len(joints))]
    rows = []
    for i, one in enumerate(_predictions(predictor, people)):
        predicted, best = _predicted(one), one.hypotheses.joints[0].astype(float)
        far = float((joints[i, 0] - best[0]) @ predicted.ray)
        error = joints[i] - best - far * predicted.ray
        rows.append(ImageErrors(predicted, error, records["joint_visible"][i].astype(bool), far))
    return rows


def of_views(predictor: Predictor, samples: Sequence[ViewSample]) -> list[ImageErrors]:
    """Estimate images of footage and compare them with the reference's joints.

    Visibility, which nobody has labelled there, is the landmark network's.
    """
    people = [(one.landmarks, one.intrinsics) for one in samples]
    rows = []
    for one, found in zip(samples, _predictions(predictor, people), strict=True):
        predicted, best = _predicted(found), found.hypotheses.joints[0].astype(float)
        ray = best[0] / np.linalg.norm(best[0])
        cov = floored(predicted.cov[one.joints])
        error = np.full((NUM_JOINTS, 3), np.nan)
        error[one.joints] = without_common_distance(one.target - best[one.joints], cov, ray)
        visible = np.nan_to_num(predicted.landmark_visibility, nan=1.0) > 0.5
        rows.append(ImageErrors(predicted, error, visible, np.nan))
    return rows


def dataset(strata: dict[str, list[ImageErrors]], data: str) -> CalibrationDataset:
    """Put the rows of several kinds of images into one dataset, which `data` describes."""
    rows = [row for part in strata.values() for row in part]
    predicted = {
        one.name: np.array([getattr(row.predicted, one.name) for row in rows])
        for one in fields(_Predicted)
    }
    return CalibrationDataset(
        error=np.array([row.error for row in rows]),
        visible=np.array([row.visible for row in rows]),
        distance_error=np.array([row.distance_error for row in rows]),
        stratum=np.repeat(np.arange(len(strata)), [len(part) for part in strata.values()]),
        strata=tuple(strata),
        data=data,
        **predicted,
    )


def observation(
    records: RawRecords, row: int, network: LandmarkNetwork = "full"
) -> tuple[Landmarks, Intrinsics]:
    """Return what the live system would be given of a stored sample: its window is the image."""
    left, top, right, bottom = records["window"][row].astype(float)
    width, height = (float(side) for side in records["size"][row])
    focal = float(records["focal"][row])
    size = (max(1, round(right - left)), max(1, round(bottom - top)))
    intrinsics = Intrinsics(focal, focal, width / 2 - left, height / 2 - top, size)
    names = ("points", "depth", "visibility", "presence", "peak", "world")
    parts = {name: records[name][row].astype(np.float64) for name in names}
    parts["points"] -= (left, top)
    whole = Roi(np.array([size[0] / 2, size[1] / 2]), float(max(size)), 0.0)
    score = float(records["score"][row])
    return Landmarks(**parts, score=score, roi=whole, network=network), intrinsics


def _predictions(predictor: Predictor, people: People) -> Iterator[Prediction]:
    for start in range(0, len(people), TOGETHER):
        yield from predictor.predictions(people[start : start + TOGETHER])


def _predicted(one: Prediction) -> _Predicted:
    visibility = np.full(NUM_JOINTS, np.nan)
    visibility[list(LIMB_LANDMARKS.values())] = one.landmarks.visibility[list(LIMB_LANDMARKS)]
    return _Predicted(
        cov=one.moments.cov.astype(float),
        ray=one.moments.ray.astype(float),
        p_visible=one.joint_visible,
        entropy=one.entropy,
        half_size=one.half_size,
        heavy=one.heavy,
        landmark_visibility=visibility,
        distance_std=one.moments.distance_std,
    )
