"""Scores of single views on real footage: one image at a time is estimated, without smoothing.

A sample is one person in one image, with reference positions of some joints. Errors are in
millimetres: after Procrustes alignment ("PA"), or in the camera frame with nothing but the common
distance fitted, which is what the published covariance is of.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from calib.metrics import spearman
from engines.camera import Intrinsics
from engines.covariance import ellipsoid_contains, std_from_cov
from engines.types import JOINT_NAMES, LIMB_LANDMARKS, Landmarks
from trainer.estimation.prediction import ViewEstimate
from trainer.evaluation.metrics import pa_joint_errors, pa_mpjpe, procrustes

LANDMARK_OF = {joint: landmark for landmark, joint in LIMB_LANDMARKS.items()}
_MIN_FOR_RANK = 10
"""A rank correlation within a joint is taken of more values than this."""
_DRAWS = 20
"""Errors that are drawn for each joint of each image."""


@dataclass(frozen=True)
class ViewSample:
    """One person in one image, and where some of the joints are."""

    landmarks: Landmarks
    intrinsics: Intrinsics
    joints: Int[np.ndarray, "n"]
    """SMPL joint numbers, limb joints only."""
    target: Float[np.ndarray, "n 3"]
    """Reference positions, camera frame, metres."""


@dataclass(frozen=True)
class ViewScore:
    """One estimate against the reference; n joints, millimetres."""

    joints: Int[np.ndarray, "n"]
    """SMPL joint numbers."""
    visible: Bool[np.ndarray, "n"]
    """Whether the flow calls the joint likelier visible than occluded."""
    pa_error: Float[np.ndarray, "n"]
    """Error of the best estimate, after Procrustes alignment."""
    pa_error_best: Float[np.ndarray, "n"]
    """The same of the hypothesis with the smallest mean."""
    pa_landmark_network: float
    """PA-MPJPE of the landmark network's own world landmarks."""
    error: Float[np.ndarray, "n"]
    """In the camera frame, the common distance fitted."""
    std: Float[np.ndarray, "n"]
    """Predicted: root mean square over the axes, the common distance apart."""
    axes: Float[np.ndarray, "n 3"]
    """Predicted: standard deviations along the ellipsoid's axes, the common distance apart."""
    inside: Bool[np.ndarray, "n"]
    """Whether the 90 % ellipsoid holds the reference, in the camera frame."""
    inside_aligned: Bool[np.ndarray, "n"]
    """The same after alignment, the ellipsoid turned and scaled with the estimate."""


def without_common_distance(
    error: Float[np.ndarray, "n 3"], cov: Float[np.ndarray, "n 3 3"], ray: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 3"]:
    """Remove one shift of all joints along the ray, fitted by generalised least squares."""
    weight = np.linalg.inv(cov) @ ray  # (n, 3)
    return error - (weight * error).sum() / (weight @ ray).sum() * ray


def score_view(estimate: ViewEstimate, sample: ViewSample) -> ViewScore:
    """Compare an estimate with the reference of its sample."""
    joints = sample.joints
    target = torch.tensor(sample.target, dtype=torch.float64)
    bodies = torch.tensor(estimate.hypotheses.joints[:, joints].astype(float))
    pa_errors = 1000 * pa_joint_errors(bodies, target.expand_as(bodies)).numpy()
    landmarks = [LANDMARK_OF[joint] for joint in joints.tolist()]
    world = torch.tensor(sample.landmarks.world[landmarks], dtype=torch.float64)
    fit = procrustes(bodies[0], target)
    turn = fit.scale.item() * fit.R.numpy()
    cov = estimate.cov[joints]
    ray = estimate.joints[0] / np.linalg.norm(estimate.joints[0])
    error = without_common_distance(sample.target - estimate.joints[joints], cov, ray)
    return ViewScore(
        joints=joints,
        visible=estimate.joint_visible[joints] > 0.5,
        pa_error=pa_errors[0],
        pa_error_best=pa_errors[pa_errors.mean(1).argmin()],
        pa_landmark_network=1000 * pa_mpjpe(world, target).item(),
        error=1000 * np.linalg.norm(error, axis=-1),
        std=1000 * std_from_cov(cov),
        axes=1000 * np.sqrt(np.maximum(np.linalg.eigvalsh(cov), 0.0)),
        inside=ellipsoid_contains(cov, error),
        inside_aligned=ellipsoid_contains(
            turn @ cov @ turn.T, (fit.apply(bodies[0]) - target).numpy()
        ),
    )


def score_views(
    estimate: Callable[[Landmarks, Intrinsics], ViewEstimate], samples: Sequence[ViewSample]
) -> list[ViewScore]:
    """Estimate and score every sample."""
    return [score_view(estimate(one.landmarks, one.intrinsics), one) for one in samples]


def summarise(scores: Sequence[ViewScore]) -> dict[str, float | int | None]:
    """Take means over images and joints.

    The rank correlation of predicted sigma and error is taken within each joint and averaged. What
    it would be if errors were normal with the predicted covariances stands beside it: where a
    recording's covariances hardly differ from image to image, nothing could be ranked.
    """
    joint, visible, error, std, axes, inside, aligned = (
        np.concatenate([getattr(one, name) for one in scores])
        for name in ("joints", "visible", "error", "std", "axes", "inside", "inside_aligned")
    )
    return {
        "PA-MPJPE, best estimate": _mean([one.pa_error.mean() for one in scores]),
        "PA-MPJPE, best hypothesis": _mean([one.pa_error_best.mean() for one in scores]),
        "PA-MPJPE, landmark network": _mean([one.pa_landmark_network for one in scores]),
        "inside 90 %, visible": _mean(inside[visible], 3),
        "inside 90 %, occluded": _mean(inside[~visible], 3),
        "inside 90 % after alignment, visible": _mean(aligned[visible], 3),
        "inside 90 % after alignment, occluded": _mean(aligned[~visible], 3),
        "Spearman within joint": _rank_within_joint(joint, std, error),
        "Spearman within joint, were the errors as predicted": _predicted_rank(joint, std, axes),
        "occluded joints": int((~visible).sum()),
        "joints per image": round(len(joint) / len(scores), 2),
        "images": len(scores),
    }


def summarise_joints(
    scores: Sequence[ViewScore],
) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """The same for each joint, apart where it is visible and where it is occluded."""
    joint, visible = (
        np.concatenate([getattr(one, name) for one in scores]) for name in ("joints", "visible")
    )
    columns = {
        name: np.concatenate([getattr(one, name) for one in scores])
        for name in ("pa_error", "pa_error_best", "error", "std", "inside")
    }
    table = {}
    for number in np.unique(joint).tolist():
        groups = {"visible": (joint == number) & visible, "occluded": (joint == number) & ~visible}
        table[JOINT_NAMES[number]] = {
            name: _summarise_group({key: value[group] for key, value in columns.items()})
            for name, group in groups.items()
            if group.any()
        }
    return table


def _summarise_group(columns: dict[str, np.ndarray]) -> dict[str, float | int | None]:
    return {
        "PA error, best estimate": _mean(columns["pa_error"]),
        "PA error, best hypothesis": _mean(columns["pa_error_best"]),
        "inside 90 %": _mean(columns["inside"], 3),
        "Spearman": _rank_correlation(columns["std"], columns["error"]),
        "images": len(columns["error"]),
    }


def _rank_within_joint(joint: np.ndarray, std: np.ndarray, error: np.ndarray) -> float | None:
    """Take the rank correlation within each joint, and the mean over joints."""
    ranks = [_rank_correlation(std[joint == j], error[joint == j]) for j in np.unique(joint)]
    return _mean([rank for rank in ranks if rank is not None], 3)


def _predicted_rank(joint: np.ndarray, std: np.ndarray, axes: np.ndarray) -> float | None:
    """Take the same of errors that are drawn from the predicted covariances."""
    normal = np.random.default_rng(0).normal(size=(_DRAWS, *axes.shape))
    drawn = np.linalg.norm(axes * normal, axis=-1)
    ranks = [_rank_within_joint(joint, std, error) for error in drawn]
    return _mean([rank for rank in ranks if rank is not None], 3)


def _rank_correlation(std: np.ndarray, error: np.ndarray) -> float | None:
    """Spearman's correlation of predicted sigma and error; None where it says nothing."""
    if len(std) <= _MIN_FOR_RANK:
        return None
    rank = spearman(std, error)
    return None if math.isnan(rank) else round(rank, 3)


def _mean(values: Sequence[float] | np.ndarray, digits: int = 2) -> float | None:
    return round(float(np.mean(values)), digits) if len(values) else None
