"""Training pairs: the files of `trainer.synthesize` as the flow's inputs and targets."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.features import observe
from engines.rotations import exp_so3, log_so3
from trainer.augment import AugmentConfig, Raw, joints_in_camera, mirror, perturb
from trainer.flow import Bodies
from trainer.kinematics import camera_from_pelvis, project


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


def read(folder: Path, shards: int | None = None) -> Raw:
    """Read a split's shards as they are stored.

    Args:
        folder: of `.npz` files.
        shards: read only the first so many.

    Raises:
        PenumbraError: if there is no shard.
    """
    files = sorted(folder.glob("*.npz"))[:shards]
    if not files:
        raise PenumbraError(f"{folder} holds no training pairs: run python -m trainer.synthesize first.")
    records = [dict(np.load(file)) for file in files]
    return {key: np.concatenate([record[key] for record in records]) for key in records[0]}


def load(folder: Path, body: BodyModel, shards: int | None = None) -> Pairs:
    """Read a split's shards as pairs. Arguments and errors as in `read`."""
    return encode(read(folder, shards), body)


def batches(raw: Raw, body: BodyModel, size: int, config: AugmentConfig, rng: np.random.Generator) -> Iterator[Pairs]:
    """Random pairs without end, each perturbed anew, every second one mirrored."""
    count = len(raw["rotvec"])
    while True:
        index = rng.integers(count, size=size)
        chosen = {key: value[index] for key, value in raw.items()}
        half = size // 2
        straight = {key: value[:half] for key, value in chosen.items()}
        mirrored = mirror({key: value[half:] for key, value in chosen.items()})
        joined = {key: np.concatenate([straight[key], mirrored[key]]) for key in chosen}
        yield encode(perturb(joined, body, config, rng), body)


def encode(raw: Raw, body: BodyModel) -> Pairs:
    """What the network said as features, the truth in the view that they define."""
    size, focal = raw["size"][:, None, :].astype(np.float64), raw["focal"].astype(np.float64)
    rays = (raw["points"] - size / 2) / focal[:, None, None]
    inside = ((raw["points"] >= 0) & (raw["points"] < size)).all(-1)
    depth = raw["depth"] / focal[:, None]
    features, view = observe(rays, depth, inside, raw["visibility"], raw["presence"], raw["world"].astype(np.float64))
    R_view = np.swapaxes(view.R_cam_view, -1, -2)
    y = raw["rotvec"].astype(np.float64)
    y[:, 0] = log_so3(np.swapaxes(view.R_view_anchor, -1, -2) @ R_view @ exp_so3(y[:, 0]))
    joints_cam = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)
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


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
