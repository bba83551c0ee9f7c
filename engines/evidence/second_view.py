"""A second calibrated camera at the same moment, as evidence about the first one's hypotheses.

Only the landmarks of the second image are needed, not a second set of hypotheses: the depth that
one camera cannot measure lies across the other's image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS, NUM_LANDMARKS, Hypotheses, Landmarks

_LANDMARKS, _JOINTS = np.array(list(LIMB_LANDMARKS)), np.array(list(LIMB_LANDMARKS.values()))
SCALE = 0.03
"""Laplace scale as a share of the person's size. On real four-camera footage the landmarks of one
camera lie 1.7 of these (mean; median 1.1) from points triangulated in two others, where such a
distribution has 2."""
_MAX_VISIBILITY = 0.99
"""However visible a landmark is said to be, one in a hundred may be anywhere."""
_NEAR_M = 0.05
"""Nothing closer to a camera than this is in its image."""


@dataclass(frozen=True)
class SecondView:
    """Landmarks of the same person at the same time in another camera.

    With v the landmark's visibility, r its distance in px from where the hypothesis' joint would
    appear, b the scale and A the area of the image, each landmark inside the image counts

        log( v exp(-r / b) / (2 pi b^2) + (1 - v) / A )

    a two-dimensional Laplace distribution where it is visible and uniform where it is not, which is
    how MHEntropy models landmarks (Chen, Yang and Yao, ICCV 2023), here as one mixture. So an
    occluded landmark has no effect, and an outlier has little. A landmark outside the image is an
    extrapolation and does not count.
    """

    points: Float[np.ndarray, "_ _"]
    """(33, 2) BlazePose's landmarks in the second image, px."""
    visibility: Float[np.ndarray, "_"]
    """(33,) Probability that each is visible, 0 to 1."""
    intrinsics: Intrinsics
    """The second camera's."""
    T_cam2_cam1: Float[np.ndarray, "_ _"]
    """(4, 4) Rigid: x_cam2 = T x_cam1, metres. `cam1` is the camera of the hypotheses."""
    scale: float = SCALE
    """Laplace scale b over the person's size, the diagonal of the box around limb landmarks."""

    def __post_init__(self) -> None:
        if np.shape(self.points) != (NUM_LANDMARKS, 2):
            raise PenumbraError(
                f"points: must have shape (33, 2), not {np.shape(self.points)}; give BlazePose's."
            )
        if np.shape(self.visibility) != (NUM_LANDMARKS,):
            raise PenumbraError(
                f"visibility: must have shape (33,), not {np.shape(self.visibility)}; give "
                "BlazePose's."
            )
        if not _is_rigid(np.asarray(self.T_cam2_cam1)):
            raise PenumbraError(
                "T_cam2_cam1: is not a rigid 4x4 transform; give a rotation and a translation in "
                "metres that take the first camera's frame to the second's."
            )
        if not self.scale > 0:
            raise PenumbraError(f"scale: must be above 0, not {self.scale}; leave it out.")

    @staticmethod
    def of(
        landmarks: Landmarks,
        intrinsics: Intrinsics,
        T_cam2_cam1: Float[np.ndarray, "4 4"],
        scale: float = SCALE,
    ) -> "SecondView":
        """The evidence of landmarks that were found in the second image."""
        return SecondView(landmarks.points, landmarks.visibility, intrinsics, T_cam2_cam1, scale)

    @property
    def scale_px(self) -> float:
        """Laplace scale b in px of the second image."""
        limbs = self.points[_LANDMARKS]
        return self.scale * max(float(np.linalg.norm(np.ptp(limbs, axis=0))), 1.0)

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """The sum over limb landmarks, up to a constant, nats; zero where none is in the image."""
        use = self._inside()
        v = np.clip(self.visibility[_LANDMARKS[use]], 0.0, _MAX_VISIBILITY)
        r = self._distance_px(hypotheses.joints[:, _JOINTS[use]], self.points[_LANDMARKS[use]])
        b = self.scale_px
        area = float(np.prod(self.intrinsics.size))
        laplace = np.exp(-r / b) / (2 * np.pi * b**2)
        return np.log(v * laplace * area + (1 - v)).sum(-1)  # both terms times the area: a constant

    def _inside(self) -> Int[np.ndarray, "J"]:
        """Which of the limb landmarks lie in the image."""
        points = self.points[_LANDMARKS]
        return np.flatnonzero(((points >= 0) & (points < np.array(self.intrinsics.size))).all(-1))

    def _distance_px(
        self, joints: Float[np.ndarray, "K J 3"], points: Float[np.ndarray, "J 2"]
    ) -> Float[np.ndarray, "K J"]:
        """Distances of landmarks from projected joints, in px of the centre of the image.

        A joint that is not in front of the camera is infinitely far away. The distortion is removed
        from the landmarks instead of added to the joints, because the lens model folds points from
        far outside back into the image.
        """
        T = np.asarray(self.T_cam2_cam1, np.float64)
        in_second = joints.astype(np.float64) @ T[:3, :3].T + T[:3, 3]
        depth = in_second[..., 2:]
        rays = in_second[..., :2] / np.maximum(depth, _NEAR_M)
        offset = (rays - self.intrinsics.rays(points)) * (self.intrinsics.fx, self.intrinsics.fy)
        return np.where(depth[..., 0] > _NEAR_M, np.linalg.norm(offset, axis=-1), np.inf)


def _is_rigid(T: np.ndarray) -> bool:
    if T.shape != (4, 4) or not np.isfinite(T).all() or not np.allclose(T[3], [0, 0, 0, 1]):
        return False
    R = T[:3, :3]
    return bool(np.allclose(R @ R.T, np.eye(3), atol=1e-4) and np.linalg.det(R) > 0)
