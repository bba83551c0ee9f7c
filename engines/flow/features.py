"""The flow's input: a person's landmarks as one vector, in a virtual camera aimed at the person.

Perspective makes a person at the edge of an image differ from the same person in its middle, and a
small person from a large one. So the landmarks are expressed in a *view*: the camera rotated until
its axis points at the torso, coordinates divided by the size of the person. The flow works in the
view, and `VirtualCamera` takes its output back to the camera.

There are two encodings. `landmarks_3d` has what the landmark network returns, but no heatmaps, and
the torso's axes from its world coordinates as a first estimate of the orientation. `landmarks_2d`
leaves depth and world coordinates out, which the network guesses from habit, and has the peaks of
its heatmaps, which tell how far a visible landmark may be off; the flow estimates the orientation
itself. A flow's record says which one its graph takes.

The trainer and the live system both encode here. Everything is batched over leading dimensions;
coordinates on the plane z = 1 are called rays (`engines.camera`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from engines.camera import look_at
from engines.types import LIMB_LANDMARKS, NUM_LANDMARKS

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
TORSO = (LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP)
LIMBS = tuple(LIMB_LANDMARKS)
REACH_M = 1.0
"""`VirtualCamera.half_size` of an average person at a distance of 1 m: a person of half size h is
about `REACH_M` / h metres away."""
FeatureName = Literal["landmarks_3d", "landmarks_2d"]
FEATURE_NAMES: tuple[FeatureName, ...] = get_args(FeatureName)


def _layout(widths: Mapping[str, int]) -> dict[str, slice]:
    """Return where each part of the feature vector lies, given the parts' widths in order."""
    ends = list(accumulate(widths.values()))
    starts = [end - width for end, width in zip(ends, widths.values(), strict=True)]
    return {name: slice(*ends) for name, *ends in zip(widths, starts, ends, strict=True)}


LAYOUT = _layout(
    {
        "points": 2 * NUM_LANDMARKS,  # x, y on the plane z = 1 of the view, in half sizes
        "depth": NUM_LANDMARKS,  # in half sizes
        "visibility": NUM_LANDMARKS,  # this and the next two in [-1, 1]
        "presence": NUM_LANDMARKS,
        "inside": NUM_LANDMARKS,
        "world": 3 * NUM_LANDMARKS,  # metres
        "center": 2,  # the torso's ray in the camera
        "log_half_size": 1,
    }
)
"""Part of `landmarks_3d` to its place; within a part the landmark changes slowest."""
LAYOUT_2D = _layout(
    {
        name: part.stop - part.start
        for name, part in LAYOUT.items()
        if name not in ("depth", "world")
    }
    | {"peak": NUM_LANDMARKS}  # in [-1, 1], 0 where unknown
)
"""The same of `landmarks_2d`."""
NUM_FEATURES = LAYOUT["log_half_size"].stop
NUM_FEATURES_2D = LAYOUT_2D["peak"].stop


@dataclass(frozen=True)
class VirtualCamera:
    """A camera aimed at a person, and a first estimate of the body's orientation in it."""

    R_cam_view: Float[np.ndarray, "*B 3 3"]
    """Rotation from the view to the camera; both have their origin at the camera."""
    half_size: Float[np.ndarray, "*B"]
    """Half the person's size on the plane z = 1 of the view."""
    R_view_anchor: Float[np.ndarray, "*B 3 3"]
    """Rotation from the body to the view by the torso's world landmarks. The flow predicts the
    rotation that remains, in body axes. The identity for `landmarks_2d`: there the flow estimates
    this rotation too."""


def num_features(name: FeatureName) -> int:
    """Return the length of the feature vector."""
    return {"landmarks_3d": NUM_FEATURES, "landmarks_2d": NUM_FEATURES_2D}[name]


def landmark_features(
    rays: Float[np.ndarray, "*B 33 2"],
    depth: Float[np.ndarray, "*B 33"],
    inside: Bool[np.ndarray, "*B 33"],
    visibility: Float[np.ndarray, "*B 33"],
    presence: Float[np.ndarray, "*B 33"],
    world: Float[np.ndarray, "*B 33 3"],
) -> tuple[Float[np.ndarray, "*B F"], VirtualCamera]:
    """Encode landmarks as `landmarks_3d`.

    Args:
        rays: landmark positions on the plane z = 1 of the camera.
        depth: relative depth divided by the focal length, so in the same units as `rays`.
        inside: whether the landmark lies inside the image.
        visibility: the landmark network's probability that it is not occluded.
        presence: the landmark network's probability that it is inside the crop.
        world: the landmark network's metric guess, metres.

    Returns:
        The feature vector (float32, `NUM_FEATURES` long) and the view that its coordinates belong
        to.
    """
    parts, R_cam_view, half_size = _in_view(rays, inside, visibility, presence)
    parts |= {"depth": depth / half_size[..., None], "world": world.reshape(*rays.shape[:-2], -1)}
    return _vector(parts, LAYOUT), VirtualCamera(R_cam_view, half_size, _torso_axes(world))


def landmark_features_2d(
    rays: Float[np.ndarray, "*B 33 2"],
    inside: Bool[np.ndarray, "*B 33"],
    visibility: Float[np.ndarray, "*B 33"],
    presence: Float[np.ndarray, "*B 33"],
    peak: Float[np.ndarray, "*B 33"],
) -> tuple[Float[np.ndarray, "*B F"], VirtualCamera]:
    """Encode landmarks as `landmarks_2d`.

    Args:
        rays, inside, visibility, presence: as of `landmark_features`.
        peak: largest probability in each landmark's heatmap, NaN where unknown.

    Returns:
        As of `landmark_features`, `NUM_FEATURES_2D` long.
    """
    parts, R_cam_view, half_size = _in_view(rays, inside, visibility, presence)
    parts |= {"peak": np.nan_to_num(2.0 * peak - 1.0, nan=0.0)}
    identity = np.broadcast_to(np.eye(3), R_cam_view.shape)
    return _vector(parts, LAYOUT_2D), VirtualCamera(R_cam_view, half_size, identity)


def _in_view(
    rays: Float[np.ndarray, "*B 33 2"],
    inside: Bool[np.ndarray, "*B 33"],
    visibility: Float[np.ndarray, "*B 33"],
    presence: Float[np.ndarray, "*B 33"],
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "*B 3 3"], Float[np.ndarray, "*B"]]:
    """Return what both encodings share: parts of the vector, R_cam_view, and the half size."""
    center = rays[..., TORSO, :].mean(-2)
    R_cam_view = look_at(center)
    homogeneous = (
        np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ R_cam_view
    )  # row vectors: R^T p
    flat = homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-3)
    half_size = np.asarray(2.0 * np.sqrt((flat[..., LIMBS, :] ** 2).sum(-1).mean(-1)) + 1e-6)
    parts = {
        "points": (flat / half_size[..., None, None]).reshape(*rays.shape[:-2], -1),
        "visibility": 2.0 * visibility - 1.0,
        "presence": 2.0 * presence - 1.0,
        "inside": 2.0 * inside - 1.0,
        "center": center,
        "log_half_size": np.log(half_size)[..., None],
    }
    return parts, R_cam_view, half_size


def _vector(parts: Mapping[str, np.ndarray], layout: Mapping[str, slice]) -> np.ndarray:
    vector = np.concatenate([parts[name] for name in layout], -1)
    return vector.clip(-8.0, 8.0).astype(np.float32)


def _torso_axes(world: Float[np.ndarray, "*B 33 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Return the body's left, up and forward axes, as columns, from hips and shoulders."""
    up = world[..., TORSO[:2], :].mean(-2) - world[..., TORSO[2:], :].mean(-2)
    left = (
        world[..., LEFT_SHOULDER, :]
        - world[..., RIGHT_SHOULDER, :]
        + world[..., LEFT_HIP, :]
        - world[..., RIGHT_HIP, :]
    )
    up = _unit(up, fallback=(0.0, -1.0, 0.0))
    left = left - (left * up).sum(-1, keepdims=True) * up
    left = _unit(left, fallback=None, perpendicular_to=up)
    return np.stack([left, up, np.cross(left, up)], -1)


def _unit(
    vector: Float[np.ndarray, "*B 3"],
    fallback: tuple[float, float, float] | None,
    perpendicular_to: Float[np.ndarray, "*B 3"] | None = None,
) -> Float[np.ndarray, "*B 3"]:
    """Normalise; where the length vanishes, use `fallback` or a normal of `perpendicular_to`."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    if fallback is not None:
        other = np.broadcast_to(np.array(fallback), vector.shape)
    else:
        assert perpendicular_to is not None
        axis = np.eye(3)[np.abs(perpendicular_to).argmin(-1)]
        other = np.cross(perpendicular_to, axis)
        other = other / np.linalg.norm(other, axis=-1, keepdims=True)
    return np.where(length > 1e-6, vector / np.maximum(length, 1e-6), other)
