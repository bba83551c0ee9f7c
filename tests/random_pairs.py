"""Training pairs without rendering: random bodies, whose landmarks are their joints plus noise.

`records` has the form of a file of `trainer.synthesize`, `pairs` that of `trainer.data`.
"""

import math

import numpy as np
import torch

from engines.body import BodyModel, joints_only
from engines.rotations import exp_so3, log_so3
from trainer import data
from trainer.augment import JOINT_OF_LANDMARK
from trainer.flow import FlowConfig, PoseFlow
from trainer.pose_prior import PosePrior

TINY = FlowConfig(width=32, blocks=1, couplings=3, hidden=16)


def records(count: int, seed: int, body: BodyModel, noise_px: float = 2.0) -> dict[str, np.ndarray]:
    """People who face the camera within a quarter turn, 3 to 5 m away."""
    rng = np.random.default_rng(seed)
    focal, size = rng.uniform(700, 900, count).astype(np.float32), np.tile([1280, 720], (count, 1)).astype(np.int32)
    rotvec = rng.normal(0, 0.25, (count, 24, 3))
    facing = np.diag([1.0, -1.0, -1.0])  # body y up, z forward  ->  camera y down, z towards the camera
    turn = np.column_stack([np.zeros(count), rng.uniform(-1.5, 1.5, count), np.zeros(count)])
    rotvec[:, 0] = log_so3(exp_so3(rng.normal(0, 0.1, (count, 3))) @ facing @ exp_so3(turn))
    betas = rng.normal(0, 1, (count, 10)).astype(np.float32)
    pelvis = np.column_stack(
        [rng.uniform(-0.8, 0.8, count), rng.uniform(-0.2, 0.4, count), rng.uniform(3, 5, count)]
    ).astype(np.float32)
    joints = joints_only(body, rotvec, betas, pelvis - body.rest_joints(betas)[:, 0])
    marks = joints[:, JOINT_OF_LANDMARK].astype(np.float64)
    hips = marks[:, 23:25].mean(1, keepdims=True)
    points = marks[..., :2] / marks[..., 2:] * focal[:, None, None] + size[:, None] / 2
    return {
        "points": (points + rng.normal(0, noise_px, points.shape)).astype(np.float32),
        "depth": ((marks - hips)[..., 2] * focal[:, None] / hips[..., 2]).astype(np.float32),
        "visibility": rng.uniform(0.5, 1, (count, 33)).astype(np.float32),
        "presence": rng.uniform(0.9, 1, (count, 33)).astype(np.float32),
        "world": (marks - hips + rng.normal(0, 0.01, marks.shape)).astype(np.float32),
        "score": np.ones(count, np.float32),
        "focal": focal,
        "size": size,
        "rotvec": rotvec.astype(np.float32),
        "betas": betas,
        "pelvis": pelvis,
        "joint_visible": rng.random((count, 24)) < 0.8,
    }


def pairs(count: int, seed: int, body: BodyModel) -> data.Pairs:
    """The same as the flow's inputs and targets."""
    return data.encode(records(count, seed, body), body)


def prior() -> PosePrior:
    """One round Gaussian about the T-pose."""
    return PosePrior.from_moments(torch.ones(1), torch.zeros(1, 69), 0.1 * torch.eye(69)[None])


def random_flow(seed: int, spread: float = 0.3) -> PoseFlow:
    """A tiny flow whose last layers, which start at zero, are filled, so that the picture matters everywhere."""
    torch.manual_seed(seed)
    flow = PoseFlow(TINY)
    with torch.no_grad():
        for layer in (flow.encoder.affine, *(coupling.last for coupling in flow.couplings)):
            layer.weight.normal_(0, spread / math.sqrt(layer.in_features))
            layer.bias.normal_(0, spread)
        flow.mean.normal_(0, 0.3)
        flow.std.uniform_(0.3, 0.7)
    return flow.eval()
