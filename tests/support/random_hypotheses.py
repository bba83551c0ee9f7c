"""Hypotheses around known true joints, without a flow: noise on the pose and on the distance."""

import numpy as np

from engines.body import BodyModel, joints_only
from engines.rotations import exp_so3, log_so3
from engines.types import Hypotheses

FACING = np.diag([1.0, -1.0, -1.0])
"""Turns the body's frame (y up, z forward) to a person who faces the camera (y down, z away)."""


def hypotheses_of_poses(
    body: BodyModel, rotvec: np.ndarray, pelvis: np.ndarray, log_q: np.ndarray | None = None
) -> Hypotheses:
    """Equally weighted bodies of mean shape; `rotvec` (K, 24, 3) in the camera frame, `pelvis` (K,
    3) metres.
    """
    count = len(rotvec)
    betas = np.zeros((count, 10))
    transl = pelvis - body.rest_joints(betas)[:, 0]
    joints = joints_only(body, rotvec, betas, transl).astype(float)
    density = np.zeros(count) if log_q is None else log_q
    return Hypotheses(rotvec, betas, transl, joints, density, np.full(count, 1.0 / count))


def around(
    body: BodyModel, count: int, seed: int, pose_std: float = 0.15, distance_std: float = 0.3
) -> tuple[Hypotheses, np.ndarray]:
    """Draws around a person three metres away, and the true joints (24, 3), which are another draw
    of the same kind.
    """
    rng = np.random.default_rng(seed)
    rotvec = rng.normal(0, 0.2, (24, 3)) + rng.normal(0, pose_std, (count + 1, 24, 3))
    turns = exp_so3(rng.normal(0, pose_std, (count + 1, 3)))
    rotvec[:, 0] = log_so3(FACING @ exp_so3(np.array([0.0, 0.4, 0.0])) @ turns)
    pelvis = np.array([0.1, 0.0, 1.0]) * (3.0 + rng.normal(0, distance_std, (count + 1, 1)))
    everyone = hypotheses_of_poses(body, rotvec, pelvis)
    samples = hypotheses_of_poses(body, rotvec[1:], pelvis[1:])
    return samples, everyone.joints[0]
