"""Landmarks of a video against a sequence in the world, the camera standing still.

The sequence's shared numbers are the body's shape, how the camera is tilted against the assumed
gravity, and how high it hangs:

    shared = (betas (10), tilt (2), height (1))
    x_cam = R_cam_world exp(-t) (x_world - (0, 0, height))        t = (tilt, 0), world axes, radians

The world is z up, the floor at z = 0. With t in the world's axes, x_cam moves by
R [x - c] J_l(t) dt, with the left Jacobian J_l of SO(3).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from engines.camera import NEAREST_M
from engines.coordinates import TURNS
from engines.fitting.observation import JOINTS
from engines.fitting.sequences.observations import COLUMNS, Shape, half_square
from engines.fitting.sequences.sequence import BodySequence, Linearised, LinkedRows
from engines.kernels import Skeleton
from engines.rotations import exp_so3, right_jacobian, skew
from engines.types import NUM_BETAS

SHARED = NUM_BETAS + 3
_TILT = slice(NUM_BETAS, NUM_BETAS + 2)
_HEIGHT = NUM_BETAS + 2


def camera_to_world(
    R_world_cam: Float[np.ndarray, "3 3"], shared: Float[np.ndarray, "G"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Return the camera's orientation, tilted, and its position, metres."""
    tilt = np.array([*shared[_TILT], 0.0])
    return exp_so3(tilt) @ R_world_cam, np.array([0.0, 0.0, shared[_HEIGHT]])


class CameraJoints(NamedTuple):
    """Joints in the camera's frame, and how they follow what is looked for."""

    points: Float[np.ndarray, "T m 3"]
    """Metres."""
    by_frame: Float[np.ndarray, "T m 3 75"]
    by_shared: Float[np.ndarray, "T m 3 G"]


def camera_joints(
    skeleton: Skeleton,
    R_world_cam: Float[np.ndarray, "3 3"],
    sequence: BodySequence,
    joints: Int[np.ndarray, "m"],
) -> CameraJoints:
    """Bring joints of a sequence into the camera's frame, and differentiate them."""
    bodies = Shape(skeleton, None).bodies(sequence)
    R, position = camera_to_world(R_world_cam, sequence.shared)
    offset = bodies.joints[:, joints] - position
    by_body = R.T @ bodies.joint_jacobian(skeleton, joints)
    tilt = np.array([*sequence.shared[_TILT], 0.0])
    by_tilt = R.T @ skew(offset) @ right_jacobian(-tilt)
    by_height = np.broadcast_to(-R.T[:, 2:], (*offset.shape, 1))
    shared = np.concatenate([by_body[..., TURNS:-3], by_tilt[..., :2], by_height], -1)
    return CameraJoints(offset @ R, by_body[..., COLUMNS], shared)


@dataclass(frozen=True)
class VideoLandmarks:
    """Limb landmarks of every frame, with Cauchy's robust loss in units of their sigma."""

    skeleton: Skeleton
    R_world_cam: Float[np.ndarray, "3 3"]
    """The camera's orientation before it is tilted."""
    rays: Float[np.ndarray, "T 12 2"]
    """Landmarks on the plane z = 1, in the order of `engines.fitting.observation.LANDMARKS`."""
    sigma: Float[np.ndarray, "T 12"]
    """Standard deviation per axis on that plane; infinite where nothing was seen."""
    cauchy: float = 3.0
    """Residual, in sigmas, at which a landmark counts half."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Compare projections with landmarks."""
        seen = camera_joints(self.skeleton, self.R_world_cam, sequence, JOINTS)
        away, squared = self._away(seen.points)
        weight = 1.0 / np.sqrt(1.0 + squared / self.cauchy**2)
        z = np.maximum(seen.points[..., 2:], NEAREST_M)
        across = np.zeros((*seen.points.shape[:2], 2, 3))
        across[..., :2] = np.eye(2)
        clear = seen.points[..., 2:] > NEAREST_M
        across[..., 2] = np.where(clear, -seen.points[..., :2] / z, 0.0)
        by_point = across / z[..., None] * (weight / self.sigma)[..., None, None]  # (T, 12, 2, 3)
        count = sequence.count
        by_frame = (by_point @ seen.by_frame).reshape(count, 2 * len(JOINTS), -1)
        shared = (by_point @ seen.by_shared).reshape(count, 2 * len(JOINTS), -1)
        residual = (away * weight[..., None]).reshape(count, -1)
        rows = LinkedRows(np.arange(count), residual, by_frame, shared)
        return Linearised((rows,), self._cost)

    def _away(
        self, points: Float[np.ndarray, "T 12 3"]
    ) -> tuple[Float[np.ndarray, "T 12 2"], Float[np.ndarray, "T 12"]]:
        predicted = points[..., :2] / np.maximum(points[..., 2:], NEAREST_M)
        seen = np.isfinite(self.sigma)[..., None]
        away = np.where(seen, self.rays - predicted, 0.0) / self.sigma[..., None]
        return away, (away**2).sum(-1)

    def _cost(self, sequence: BodySequence) -> float:
        R, position = camera_to_world(self.R_world_cam, sequence.shared)
        joints = Shape(self.skeleton, None).joints(sequence)
        points = (joints[:, JOINTS] - position) @ R
        _, squared = self._away(points)
        return 0.5 * self.cauchy**2 * float(np.log1p(squared / self.cauchy**2).sum())


@dataclass(frozen=True)
class SharedNormal:
    """What is known of the shared numbers beforehand: independent normals."""

    mean: Float[np.ndarray, "G"]
    sigma: Float[np.ndarray, "G"]

    def at(self, sequence: BodySequence) -> Linearised:
        """Compare them."""
        count = len(self.mean)
        rows = LinkedRows(
            np.zeros(1, int),
            self._residual(sequence)[None],
            np.zeros((1, count, TURNS + 3)),
            np.diag(1.0 / self.sigma)[None],
        )
        return Linearised((rows,), lambda other: half_square(self._residual(other)))

    def _residual(self, sequence: BodySequence) -> Float[np.ndarray, "G"]:
        return (self.mean - sequence.shared) / self.sigma
