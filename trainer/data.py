"""Training pairs in memory: the files of `trainer.synthesize` as the flow's inputs and targets."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines.body import BodyModel, joints_only
from engines.errors import PenumbraError
from engines.features import observe
from engines.rotations import exp_so3, log_so3
from trainer.flow import Bodies
from trainer.kinematics import camera_from_pelvis, project
from trainer.mocap import MIRRORED_JOINTS, mirror_pose

# fmt: off
MIRRORED_LANDMARKS = (0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23, 26, 25,
                      28, 27, 30, 29, 32, 31)
"""Which landmark takes each one's place in a mirror."""
# fmt: on


class Pairs(NamedTuple):
    """N pairs; every field's first axis is N."""

    features: Tensor
    R_anchor: Tensor
    """(N, 3, 3), body axes in the view."""
    half: Tensor
    """(N,) size of the person on the plane z = 1."""
    y: Tensor
    """(N, 24, 3) true rotations, row 0 relative to the anchor."""
    betas: Tensor
    camera: Tensor
    joints: Tensor
    """(N, 24, 3) true joints in the view, metres."""
    target: Tensor
    """(N, 24, 2) the same on the plane z = 1 in units of `half`."""
    visible: Tensor
    """(N, 24) 1 where a joint is seen."""

    def bodies(self) -> Bodies:
        """The truth as one body a picture."""
        return Bodies(self.y[:, None], self.betas[:, None], self.camera[:, None])

    def rows(self, index: Tensor) -> "Pairs":
        """Some of the pairs."""
        return Pairs(*(field[index] for field in self))

    @property
    def size(self) -> int:
        """N."""
        return len(self.half)


def load(folder: Path, body: BodyModel, mirror: bool = False, shards: int | None = None) -> Pairs:
    """Read a split's shards.

    Args:
        folder: of `.npz` files.
        body: turns the true parameters into joints.
        mirror: add every pair's mirror image.
        shards: read only the first so many.

    Raises:
        PenumbraError: if there is no shard.
    """
    files = sorted(folder.glob("*.npz"))[:shards]
    if not files:
        raise PenumbraError(f"{folder} holds no training pairs: run python -m trainer.synthesize first.")
    records = [dict(np.load(file)) for file in files]
    raw = {key: np.concatenate([record[key] for record in records]) for key in records[0]}
    parts = [_encode(raw, body)]
    if mirror:
        parts.append(_encode(_mirror(raw), body))
    return Pairs(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _encode(raw: dict[str, np.ndarray], body: BodyModel) -> Pairs:
    size, focal = raw["size"][:, None, :].astype(np.float64), raw["focal"].astype(np.float64)
    rays = (raw["points"] - size / 2) / focal[:, None, None]
    inside = ((raw["points"] >= 0) & (raw["points"] < size)).all(-1)
    depth = raw["depth"] / focal[:, None]
    features, view = observe(rays, depth, inside, raw["visibility"], raw["presence"], raw["world"].astype(np.float64))
    R_view = np.swapaxes(view.R_cam_view, -1, -2)
    y = raw["rotvec"].astype(np.float64)
    y[:, 0] = log_so3(np.swapaxes(view.R_view_anchor, -1, -2) @ R_view @ exp_so3(y[:, 0]))
    transl = raw["pelvis"] - body.rest_joints(raw["betas"])[:, 0]
    joints_cam = joints_only(body, raw["rotvec"], raw["betas"], transl)
    joints, half = _tensor(joints_cam @ view.R_cam_view), _tensor(view.half)
    return Pairs(
        features=torch.from_numpy(features),
        R_anchor=_tensor(view.R_view_anchor),
        half=half,
        y=_tensor(y),
        betas=_tensor(raw["betas"]),
        camera=camera_from_pelvis(joints[:, 0], half),
        joints=joints,
        target=project(joints[:, None], half)[:, 0],
        visible=_tensor(raw["joint_visible"]),
    )


def _mirror(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The picture and the person in a mirror that stands upright beside them."""
    landmarks, joints = list(MIRRORED_LANDMARKS), list(MIRRORED_JOINTS)
    points, world, pelvis = raw["points"][:, landmarks], raw["world"][:, landmarks], raw["pelvis"] * (-1, 1, 1)
    points[..., 0] = raw["size"][:, :1] - points[..., 0]
    world[..., 0] = -world[..., 0]
    per_landmark = {key: raw[key][:, landmarks] for key in ("depth", "visibility", "presence")}
    return (
        raw
        | per_landmark
        | {
            "points": points,
            "world": world,
            "pelvis": pelvis,
            "rotvec": mirror_pose(raw["rotvec"]),
            "joint_visible": raw["joint_visible"][:, joints],
        }
    )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
