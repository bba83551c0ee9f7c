"""Samples of the gravity network: what the live flow says of synthetic people, and where up is.

The landmarks of each person go through the shipped flow, the fit and the calibration, as in a run
of the live system. Half of the cameras are uncalibrated, that is, seen through the field of view
that a run assumes. A share is rolled by any quarter of a turn and a bit: phones lie on their side,
and cameras hang upside down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from engines import camera
from engines.arrays import read_npz
from engines.body import BodyModel
from engines.covariance import cov_from_six, six_from_cov
from engines.flow.model import FlowModel
from engines.gravity.features import gravity_features
from engines.rotations import exp_so3
from engines.types import NUM_LANDMARKS, Landmarks, Roi
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.motion.anatomy import MIRRORED_JOINTS
from trainer.synthetic.source import SyntheticPeople, SyntheticSource

_BATCH = 512


@dataclass(frozen=True)
class SampleConfig:
    """How samples are made."""

    hypotheses: int = 50
    """Per person."""
    assumed: float = 0.5
    """Share of cameras whose field of view is not known."""
    rolled: float = 0.3
    """Share of cameras that are rolled by a random quarter of a turn."""
    roll_deg: float = 15.0
    """Standard deviation of what is added to that."""


class GravitySamples(NamedTuple):
    """N estimates of people, camera frame."""

    R_cam_root: Float[np.ndarray, "N 3 3"]
    joints: Float[np.ndarray, "N 24 3"]
    """Metres."""
    joint_cov: Float[np.ndarray, "N 24 6"]
    """Calibrated; xx, xy, xz, yy, yz, zz, square metres."""
    joint_visible: Float[np.ndarray, "N 24"]
    up: Float[np.ndarray, "N 3"]
    """The true direction against gravity."""

    def mirrored(self) -> "GravitySamples":
        """Mirror people and cameras in the plane x = 0 of the camera."""
        sides = list(MIRRORED_JOINTS)
        flip = np.array([-1, 1, 1], np.float32)
        return GravitySamples(
            flip[:, None] * self.R_cam_root * flip,
            self.joints[:, sides] * flip,
            self.joint_cov[:, sides] * np.array([1, -1, -1, 1, 1, 1], np.float32),
            self.joint_visible[:, sides],
            self.up * flip,
        )

    def features(self) -> Float[np.ndarray, "N F"]:
        """Encode the estimates as the network's input."""
        cov = cov_from_six(self.joint_cov)
        return gravity_features(self.R_cam_root, self.joints, cov, self.joint_visible)

    def up_in_root(self) -> Float[np.ndarray, "N 3"]:
        """Return the network's target: up in the axes of each person's pelvis."""
        return np.einsum("nij,ni->nj", self.R_cam_root, self.up)

    @staticmethod
    def load(paths: Sequence[Path]) -> "GravitySamples":
        """Read shards and join them."""
        shards = [read_npz(path) for path in paths]
        names = GravitySamples._fields
        return GravitySamples(*(np.concatenate([s[name] for s in shards]) for name in names))


def make_samples(
    source: SyntheticSource, count: int, config: SampleConfig, seed: int
) -> GravitySamples:
    """Make `count` samples of the people of a source; the same arguments give the same samples."""
    rng = np.random.default_rng(seed)
    estimator = FrameEstimator(FlowModel.load(), BodyModel.load(), config.hypotheses)
    rows: list[tuple[np.ndarray, ...]] = []
    with tqdm(total=count, unit="sample") as progress:
        for step in range(-(-count // _BATCH)):
            people = source.people(step, min(_BATCH, count - len(rows)))
            for i in range(people.up.shape[-1]):
                rows.append(_sample(estimator, people, i, config, rng))
                progress.update()
    columns = zip(*rows, strict=True)
    return GravitySamples(*(np.stack(column).astype(np.float32) for column in columns))


def _sample(
    estimator: FrameEstimator,
    people: SyntheticPeople,
    i: int,
    config: SampleConfig,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    quarters = int(rng.integers(4))
    angle = 0.5 * np.pi * quarters + np.radians(config.roll_deg) * rng.standard_normal()
    if rng.random() >= config.rolled:
        angle, quarters = 0.0, 0
    R = exp_so3(np.array([0.0, 0.0, angle]))
    width, height = people.size[:, i].int().tolist()[:: -1 if quarters % 2 else 1]
    focal = float(people.focal[i])
    middle = np.array([width / 2, height / 2])
    intrinsics = camera.from_focal((width, height), focal)
    points = _numpy(people.points[..., i]) @ R[:2, :2].T * focal + middle
    landmarks = Landmarks(
        points=points,
        depth=np.zeros(NUM_LANDMARKS),
        visibility=_numpy(people.visibility[:, i]),
        presence=_numpy(people.presence[:, i]),
        peak=_numpy(people.peak[:, i]),
        world=np.zeros((NUM_LANDMARKS, 3)),
        score=1.0,
        roi=Roi(middle, float(height), 0.0),
    )
    if rng.random() < config.assumed:
        intrinsics = camera.from_fov((width, height))
    found = estimator(landmarks, intrinsics)
    return (
        exp_so3(found.hypotheses.rotvec[0, 0].astype(float)),
        found.joints,
        six_from_cov(found.cov),
        found.joint_visible,
        R @ _numpy(people.up[:, i]),
    )


def _numpy(part: torch.Tensor) -> np.ndarray:
    return part.numpy().astype(float)
