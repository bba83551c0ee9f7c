"""Augmentation: move the true body a little, and the landmarks of its visible joints with it.

The landmark network's error at each landmark stays as it was; only the body under it changes. A
landmark of an occluded joint stays in place, because the network could not have seen the change. So
every rendering teaches a small neighbourhood of poses and shapes instead of a single one, with
failures that are still the network's own.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from engines.blazepose.landmarker import SIDE as CROP
from engines.body import BodyModel, joints_only
from engines.rotations import exp_so3, log_so3
from engines.types import MIRRORED_LANDMARKS
from trainer.motion.anatomy import MIRRORED_JOINTS, mirror_pose

# fmt: off
JOINT_OF_LANDMARK = (
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 16, 17, 18, 19, 20, 21, 22, 23, 22, 23, 22, 23, 1,
    2, 4, 5, 7, 8, 7, 8, 10, 11,
)
"""The SMPL joint that each of BlazePose's landmarks moves with."""
# fmt: on
HIPS = [1, 2]
RawRecords = dict[str, np.ndarray]
"""Samples as `trainer.synthesize` stores them: arrays of N rows by name."""


@dataclass(frozen=True)
class AugmentConfig:
    """How far bodies are moved."""

    max_rad: float = 0.2
    """Largest standard deviation of the rotation added to each joint; every sample draws
    its own below it.
    """
    root_rad: float = 0.1
    """The same for the orientation."""
    shape: float = 0.4
    """Share of new shape mixed into the betas, which stay standard normal."""


def perturb(
    records: RawRecords, body: BodyModel, config: AugmentConfig, rng: np.random.Generator
) -> RawRecords:
    """Move the true body of each sample and the landmarks of its visible joints."""
    count = len(records["rotvec"])
    delta = rng.uniform(0, config.max_rad, (count, 1, 1)) * rng.standard_normal((count, 24, 3))
    delta[:, 0] *= config.root_rad / max(config.max_rad, 1e-9)
    rotvec = log_so3(exp_so3(records["rotvec"].astype(np.float64)) @ exp_so3(delta))
    mixed = np.sqrt(1 - config.shape**2) * records["betas"] + config.shape * rng.standard_normal(
        records["betas"].shape
    )
    before = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    after = joints_in_camera(rotvec, mixed, records["pelvis"], body)
    visible = records["joint_visible"][:, JOINT_OF_LANDMARK, None].astype(np.float64)
    focal, distance = records["focal"][:, None, None], records["pelvis"][:, 2]
    moved = after[:, JOINT_OF_LANDMARK] - before[:, JOINT_OF_LANDMARK]
    moved_hips = (after[:, HIPS] - before[:, HIPS]).mean(1, keepdims=True)
    flow = focal * (_flat(after) - _flat(before))[:, JOINT_OF_LANDMARK]
    relative = visible * (moved - moved_hips)
    changed = {
        "points": records["points"] + visible * flow,
        "depth": records["depth"] + relative[..., 2] * (records["focal"] / distance)[:, None],
        "world": records["world"] + relative,
        "rotvec": rotvec,
        "betas": mixed,
    }
    # A joint that came close to the camera has no sensible flow: such a sample stays as it was.
    ok = after[..., 2].min(1) > 0.3
    kept = {
        key: np.where(ok.reshape(-1, *[1] * (new.ndim - 1)), new, records[key])
        for key, new in changed.items()
    }
    return records | {key: value.astype(np.float32) for key, value in kept.items()}


def mirror(records: RawRecords) -> RawRecords:
    """Mirror image and person, left to right."""
    landmarks, joints = list(MIRRORED_LANDMARKS), list(MIRRORED_JOINTS)
    points, world = records["points"][:, landmarks], records["world"][:, landmarks]
    points[..., 0] = records["size"][:, :1] - points[..., 0]
    world[..., 0] = -world[..., 0]
    alike = ("depth", "visibility", "presence", "peak")
    changed = {key: records[key][:, landmarks] for key in alike}
    changed |= {
        "points": points,
        "world": world,
        "pelvis": records["pelvis"] * np.array([-1, 1, 1], np.float32),
    }
    left, top, right, bottom = records["window"].T
    changed |= {
        "window": np.stack(
            [records["size"][:, 0] - right, top, records["size"][:, 0] - left, bottom], -1
        )
    }
    changed |= {"crop_from_image": _mirrored_crop(records["crop_from_image"], records["size"])}
    changed |= {
        "rotvec": mirror_pose(records["rotvec"]),
        "joint_visible": records["joint_visible"][:, joints],
    }
    return records | changed


def _mirrored_crop(
    crop_from_image: Float[np.ndarray, "N 2 3"], size: Int[np.ndarray, "N 2"]
) -> np.ndarray:
    """Return the affine map from the mirrored image to the mirrored crop."""
    out = crop_from_image.copy()
    out[:, 0, 2] = CROP - (out[:, 0, 0] * size[:, 0] + out[:, 0, 2])
    out[:, 1, 2] += out[:, 1, 0] * size[:, 0]
    out[:, 1, 0] = -out[:, 1, 0]
    out[:, 0, 1] = -out[:, 0, 1]
    return out


def joints_in_camera(
    rotvec: Float[np.ndarray, "N 24 3"],
    betas: Float[np.ndarray, "N 10"],
    pelvis: Float[np.ndarray, "N 3"],
    body: BodyModel,
) -> Float[np.ndarray, "N 24 3"]:
    """Joints (m) of bodies whose pelvis is given, as float64."""
    transl = pelvis - body.rest_joints(betas)[:, 0]
    return joints_only(body, rotvec, betas, transl).astype(np.float64)


def _flat(joints: Float[np.ndarray, "N 24 3"]) -> Float[np.ndarray, "N 24 2"]:
    return joints[..., :2] / np.maximum(joints[..., 2:], 0.1)
