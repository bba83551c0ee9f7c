"""A ring of calibrated cameras around a person, and perfect estimates of every camera."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from engines.camera import Intrinsics
from engines.types import LIMB_LANDMARKS, Hypotheses, Landmarks, Roi
from trainer.estimation.prediction import ViewEstimate
from trainer.multiview.rig import RigCamera


def ring(count: int = 4) -> list[RigCamera]:
    """Cameras with lens distortion around a point three metres in front of the first."""
    cameras = []
    center = np.array([0.0, 0.0, 3.0])
    dist = (-0.2, 0.05, 0.001, -0.002, 0.01)
    for angle in np.linspace(0, 1.5, count):
        R = Rotation.from_euler("y", angle).as_matrix()
        intrinsics = Intrinsics(900, 905, 640, 350, (1280, 720), dist, "test")
        cameras.append(RigCamera(intrinsics, R, center - R @ center, Path()))
    return cameras


def project(camera: RigCamera, world: np.ndarray) -> np.ndarray:
    """Project world points (m) to px."""
    return camera.intrinsics.project(camera.to_camera(world))


def bodies_at(joints: np.ndarray) -> Hypotheses:
    """Bodies of which only the joints are known."""
    count = len(joints)
    rotvec = np.zeros((count, 24, 3))
    betas = np.zeros((count, 10))
    transl = np.zeros((count, 3))
    return Hypotheses(rotvec, betas, transl, joints, np.zeros(count), np.full(count, 1 / count))


def perfect_estimates(cameras: list[RigCamera], body: np.ndarray) -> list[ViewEstimate]:
    """Estimates of a body (24, 3), world, each in its own camera's frame.

    Landmarks and the best estimate are exact; 19 more hypotheses are off by 5 cm, and so are the
    landmark network's world coordinates.
    """
    rng = np.random.default_rng(0)
    estimates = []
    for camera in cameras:
        points = np.zeros((33, 2))
        points[list(LIMB_LANDMARKS)] = project(camera, body[list(LIMB_LANDMARKS.values())])
        ones = np.ones(33)
        world = rng.normal(0, 0.3, (33, 3))
        roi = Roi(np.zeros(2), 1.0, 0.0)
        landmarks = Landmarks(points, 0 * ones, ones, ones, world, 1.0, roi)
        noise = np.concatenate([np.zeros((1, 24, 3)), rng.normal(0, 0.05, (19, 24, 3))])
        hypotheses = bodies_at(camera.to_camera(body) + noise)
        cov = np.tile(1e-4 * np.eye(3), (24, 1, 1))
        estimates.append(ViewEstimate(landmarks, hypotheses, cov, np.ones(24)))
    return estimates
