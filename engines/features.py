"""What the flow is told about a person: landmarks as one vector, seen by a virtual camera that looks at the person.

A person at the edge of a picture looks different from the same person in its middle, and a small one from a large one.
So the landmarks are moved into a *view*: the camera turned until its axis points at the torso, coordinates divided by the
size of the person. The flow works in the view; `View` takes its answers back to the camera.

The trainer and the live system both call `observe`, so that they cannot come to differ. Everything is batched over leading
dimensions; coordinates on the plane z = 1 are called rays (`calib.camera`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from engines.types import LIMB_LANDMARKS, NUM_LANDMARKS

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
TORSO = (LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP)
LIMBS = tuple(LIMB_LANDMARKS)
REACH_M = 1.0
"""Half of the box that `View.half` describes, metres, on an average person: turns a size in rays into a distance."""
NUM_FEATURES = NUM_LANDMARKS * (2 + 1 + 1 + 1 + 1 + 3) + 3


@dataclass(frozen=True)
class View:
    """The virtual camera, and a first guess at the body's orientation in it."""

    R_cam_view: Float[np.ndarray, "*B 3 3"]
    """Rotates view coordinates into the camera's; both have their origin at the camera."""
    half: Float[np.ndarray, "*B"]
    """Half the person's size on the plane z = 1 of the view."""
    R_view_anchor: Float[np.ndarray, "*B 3 3"]
    """Body axes in the view as the torso's world landmarks suggest them; the flow predicts the rotation that remains."""


def observe(
    rays: Float[np.ndarray, "*B 33 2"],
    depth: Float[np.ndarray, "*B 33"],
    inside: Bool[np.ndarray, "*B 33"],
    visibility: Float[np.ndarray, "*B 33"],
    presence: Float[np.ndarray, "*B 33"],
    world: Float[np.ndarray, "*B 33 3"],
) -> tuple[Float[np.ndarray, "*B F"], View]:
    """Encode landmarks as the flow's input.

    Args:
        rays: landmark positions on the plane z = 1 of the camera.
        depth: relative depth divided by the focal length, so in the same units as `rays`.
        inside: whether the landmark lies inside the picture.
        visibility: the landmark network's probability that it is not hidden.
        presence: the landmark network's probability that it is inside the crop.
        world: the landmark network's metric guess, metres.

    Returns:
        The feature vector (float32, `NUM_FEATURES` long) and the view that its coordinates belong to.
    """
    center = rays[..., TORSO, :].mean(-2)
    R_cam_view = _look_at(center)
    homogeneous = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ R_cam_view  # row vectors: R^T p
    flat = homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-3)
    half = 2.0 * np.sqrt((flat[..., LIMBS, :] ** 2).sum(-1).mean(-1)) + 1e-6
    batch = rays.shape[:-2]
    parts = (
        (flat / half[..., None, None]).reshape(*batch, -1),
        depth / half[..., None],
        2.0 * visibility - 1.0,
        2.0 * presence - 1.0,
        2.0 * inside - 1.0,
        world.reshape(*batch, -1),
        center,
        np.log(half)[..., None],
    )
    features = np.concatenate(parts, -1).clip(-8.0, 8.0).astype(np.float32)
    return features, View(R_cam_view, half, _torso_axes(world))


NUM_POINT_FEATURES = NUM_LANDMARKS * (2 + 1 + 1 + 1) + 3


def observe_points(
    rays: Float[np.ndarray, "*B 33 2"],
    inside: Bool[np.ndarray, "*B 33"],
    visibility: Float[np.ndarray, "*B 33"],
    presence: Float[np.ndarray, "*B 33"],
) -> tuple[Float[np.ndarray, "*B F"], View]:
    """Encode landmarks without depth and world coordinates; the anchor is left to the flow (`View` has none).

    Args and returns as `observe`; the feature vector is `NUM_POINT_FEATURES` long.
    """
    center = rays[..., TORSO, :].mean(-2)
    R_cam_view = _look_at(center)
    homogeneous = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ R_cam_view
    flat = homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-3)
    half = 2.0 * np.sqrt((flat[..., LIMBS, :] ** 2).sum(-1).mean(-1)) + 1e-6
    batch = rays.shape[:-2]
    parts = (
        (flat / half[..., None, None]).reshape(*batch, -1),
        2.0 * visibility - 1.0,
        2.0 * presence - 1.0,
        2.0 * inside - 1.0,
        center,
        np.log(half)[..., None],
    )
    features = np.concatenate(parts, -1).clip(-8.0, 8.0).astype(np.float32)
    return features, View(R_cam_view, half, np.broadcast_to(np.eye(3), (*batch, 3, 3)))


def _look_at(center: Float[np.ndarray, "*B 2"]) -> Float[np.ndarray, "*B 3 3"]:
    """The smallest rotation that turns the z axis to the ray through `center` (Rodrigues' formula)."""
    forward = np.concatenate([center, np.ones_like(center[..., :1])], -1)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(forward, -1, 0)
    a = 1.0 / (1.0 + z)
    rows = [[1 - a * x * x, -a * x * y, x], [-a * x * y, 1 - a * y * y, y], [-x, -y, z]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _torso_axes(world: Float[np.ndarray, "*B 33 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Columns: the body's left, up and forward, from hips and shoulders."""
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
    """Normalise; where the length vanishes use `fallback`, or some vector at right angles to `perpendicular_to`."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    if fallback is not None:
        other = np.broadcast_to(np.array(fallback), vector.shape)
    else:
        assert perpendicular_to is not None
        axis = np.eye(3)[np.abs(perpendicular_to).argmin(-1)]
        other = np.cross(perpendicular_to, axis)
        other = other / np.linalg.norm(other, axis=-1, keepdims=True)
    return np.where(length > 1e-6, vector / np.maximum(length, 1e-6), other)
