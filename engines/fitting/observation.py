"""What the landmark network says about the limb joints, and how sharply."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.camera import Intrinsics
from engines.fitting.settings import FitConfig
from engines.flow.features import VirtualCamera
from engines.flow.sampler import features_of
from engines.types import LIMB_LANDMARKS, Landmarks

LANDMARKS = np.array(list(LIMB_LANDMARKS))
"""The limb landmarks."""
JOINTS = np.array(list(LIMB_LANDMARKS.values()))
"""The joint that each of them marks."""
UNSEEN = 1e3
"""Standard deviation of a landmark that says nothing, on the plane z = 1."""


@dataclass(frozen=True)
class Observation:
    """Joints that were located in the image; m may be none."""

    index: Int[np.ndarray, "m"]
    """Which of `LANDMARKS` they are."""
    rays: Float[np.ndarray, "m 2"]
    """Their landmarks on the plane z = 1 of the camera."""
    sigma: Float[np.ndarray, "m"]
    """Standard deviation per axis, on that plane."""

    @property
    def joints(self) -> Int[np.ndarray, "m"]:
        """SMPL joint numbers."""
        return JOINTS[self.index]


def observe(
    landmarks: Landmarks,
    intrinsics: Intrinsics,
    view: VirtualCamera,
    config: FitConfig,
    sigma: Float[np.ndarray, "33"] | None = None,
) -> Observation:
    """Take the limb landmarks of one person; see `observed`.

    Args:
        landmarks, intrinsics: of the image.
        view: of the person (`engines.flow.features`).
        config: of the fit.
        sigma: of each landmark if it is certainly visible, on the plane z = 1 of the camera; as
            its heatmap says when None.
    """
    inside = ((landmarks.points >= 0) & (landmarks.points < np.array(intrinsics.size))).all(-1)
    rays = intrinsics.rays(landmarks.points)
    if sigma is not None:
        certain = sigma
    else:
        in_view = landmark_sigma(float(view.half_size), landmarks.peak, config)
        certain = in_view * stretch(rays, view.R_cam_view)
    return observed(rays, inside, landmarks.visibility, certain, config.min_visibility)


def observed(
    rays: Float[np.ndarray, "33 2"],
    inside: Bool[np.ndarray, "33"],
    visibility: Float[np.ndarray, "33"],
    sigma: Float[np.ndarray, "33"],
    min_visibility: float,
) -> Observation:
    """Take the limb landmarks that are visible and inside the image.

    A landmark that is visible with probability p has the standard deviation sigma / p.

    Args:
        rays: landmarks on the plane z = 1 of a camera.
        inside: whether they lie inside the image.
        visibility: their probability of being visible.
        sigma: of each landmark if it is certainly visible, on the plane z = 1.
        min_visibility: landmarks below say nothing.
    """
    counts = (inside & (visibility >= max(min_visibility, 1e-3)))[LANDMARKS]
    index = np.flatnonzero(counts)
    use = LANDMARKS[index]
    spread = sigma[use] / visibility[use]
    return Observation(index, rays[use].astype(np.float32), spread.astype(np.float32))


def landmark_sigma(
    half_size: float, peak: Float[np.ndarray, "33"], config: FitConfig
) -> Float[np.ndarray, "33"]:
    """Return standard deviations of landmarks that are certainly visible.

    Both are on the plane z = 1 of the view, whose axis points at the person.

    Args:
        half_size: half the person's size.
        peak: largest probability of each landmark's heatmap, NaN where unknown.
        config: of the fit.
    """
    known = np.where(np.isnan(peak), config.usual_peak, np.maximum(peak, 1e-3))
    return half_size * np.minimum(config.sigma * known**-config.peak_power, config.max_sigma)


def stretch(
    rays: Float[np.ndarray, "n 2"], R_cam_view: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "n"]:
    """Return how much longer things are on the camera's plane z = 1 than on the view's.

    A point p = (u, v, 1) of the camera's plane is R^T p / z on the view's, with z = (R^T p)_3. That
    divides areas by z^3, so lengths by z^1.5 in the mean over directions.
    """
    return (rays @ R_cam_view[:2, 2] + R_cam_view[2, 2]) ** 1.5


@dataclass(frozen=True)
class Limbs:
    """The limb landmarks of B people, all 12 of each, in the order of `LANDMARKS`."""

    rays: Float[np.ndarray, "B 12 2"]
    """On the plane z = 1 of the camera."""
    sigma: Float[np.ndarray, "B 12"]
    """Standard deviation per axis on that plane; `UNSEEN` where a landmark says nothing."""


def limbs_of(people: Sequence[tuple[Landmarks, Intrinsics]], config: FitConfig) -> Limbs:
    """Take the landmarks of people, each in an image of their own, by the options of the fit."""
    rays, sigma = [], []
    for landmarks, intrinsics in people:
        _, view = features_of(landmarks, intrinsics, "landmarks_2d")
        seen = observe(landmarks, intrinsics, view, config)
        rays.append(intrinsics.rays(landmarks.points)[LANDMARKS])
        sigma.append(np.full(len(LANDMARKS), UNSEEN))
        sigma[-1][seen.index] = seen.sigma
    return Limbs(np.array(rays), np.array(sigma))
