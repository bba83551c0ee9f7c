"""A second calibrated camera that saw the same moment, as evidence about the hypotheses of the
first.

What it needs of the second picture is where the landmarks are, not a second set of hypotheses: the
depth that one camera cannot know lies across the other's picture.
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
_MAX_TRUST = 0.99
"""However sure the landmark network is, one landmark in a hundred may be anywhere."""
_NEAR_M = 0.05
"""Nothing closer to a camera than this is in its picture."""


@dataclass(frozen=True)
class SecondView:
    """Landmarks of the same person at the same time in another camera.

    With v the landmark's visibility, r its distance in px from where the hypothesis' joint would be
    seen, b the scale and A the area of the picture, each landmark inside the picture counts

        log( v exp(-r / b) / (2 pi b^2) + (1 - v) / A )

    a two-dimensional Laplace distribution where it is seen and anywhere where it is not, which is
    how MHEntropy models landmarks (Chen, Yang and Yao, ICCV 2023), here as one mixture. So a hidden
    landmark says nothing, and one that is wrong says little. A landmark outside the picture is a
    guess and does not count.
    """

    points: Float[np.ndarray, "33 2"]
    """BlazePose's landmarks in the second picture, image px."""
    visibility: Float[np.ndarray, "33"]
    """Probability that each is seen, 0 to 1."""
    intrinsics: Intrinsics
    """Of the second camera."""
    T_cam2_cam1: Float[np.ndarray, "4 4"]
    """Rigid: x_cam2 = T x_cam1, metres. `cam1` is the camera that the hypotheses were drawn for."""
    scale: float = SCALE
    """Laplace scale b as a share of the person's size (diagonal of the box around the limbs'
    landmarks).
    """

    def __post_init__(self) -> None:
        T = np.asarray(self.T_cam2_cam1)
        if np.shape(self.points) != (NUM_LANDMARKS, 2) or np.shape(self.visibility) != (
            NUM_LANDMARKS,
        ):
            raise PenumbraError(
                f"SecondView takes points (33, 2) and visibility (33,), not {np.shape(self.points)} and "
                f"{np.shape(self.visibility)}."
            )
        rigid = T.shape == (4, 4) and np.allclose(T[3], [0, 0, 0, 1]) and np.isfinite(T).all()
        if not (
            rigid
            and np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-4)
            and np.linalg.det(T) > 0
        ):
            raise PenumbraError(
                "T_cam2_cam1 must be a rigid 4x4 transform (a rotation and a translation in metres) that takes the first "
                "camera's frame to the second's."
            )
        if not self.scale > 0:
            raise PenumbraError(f"SecondView's scale must be above 0, not {self.scale}.")

    @staticmethod
    def of(
        landmarks: Landmarks,
        intrinsics: Intrinsics,
        T_cam2_cam1: Float[np.ndarray, "4 4"],
        scale: float = SCALE,
    ) -> "SecondView":
        """From what the landmark network found in the second picture; arguments as the fields."""
        return SecondView(landmarks.points, landmarks.visibility, intrinsics, T_cam2_cam1, scale)

    @property
    def scale_px(self) -> float:
        """Laplace scale b in px of the second picture."""
        limbs = self.points[_LANDMARKS]
        return self.scale * max(float(np.linalg.norm(np.ptp(limbs, axis=0))), 1.0)

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """See the class; up to a constant. All zero where no landmark of a limb lies inside the
        picture.
        """
        use = self._inside()
        trust = np.clip(self.visibility[_LANDMARKS[use]], 0.0, _MAX_TRUST)
        away = self._away_px(hypotheses.joints[:, _JOINTS[use]], self.points[_LANDMARKS[use]])
        b, area = self.scale_px, float(np.prod(self.intrinsics.size))
        seen = (
            trust * np.exp(-away / b) * area / (2 * np.pi * b**2)
        )  # both terms times the area: a constant
        return np.log(seen + (1 - trust)).sum(-1)

    def _inside(self) -> Int[np.ndarray, "J"]:
        """Which of the limb landmarks lie in the picture."""
        points = self.points[_LANDMARKS]
        return np.flatnonzero(((points >= 0) & (points < np.array(self.intrinsics.size))).all(-1))

    def _away_px(
        self, joints: Float[np.ndarray, "K J 3"], points: Float[np.ndarray, "J 2"]
    ) -> Float[np.ndarray, "K J"]:
        """Distance in px of the middle of the picture; infinite for joints that are not in front of
        the camera.

        The distortion is taken off the landmarks instead of put on the joints, because the lens
        model folds points from far outside back into the picture.
        """
        T = np.asarray(self.T_cam2_cam1, np.float64)
        in_second = joints.astype(np.float64) @ T[:3, :3].T + T[:3, 3]
        depth = in_second[..., 2:]
        rays = in_second[..., :2] / np.maximum(depth, _NEAR_M)
        seen = self.intrinsics.rays(points) if len(points) else np.zeros((0, 2))
        away = np.linalg.norm((rays - seen) * (self.intrinsics.fx, self.intrinsics.fy), axis=-1)
        return np.where(depth[..., 0] > _NEAR_M, away, np.inf)
