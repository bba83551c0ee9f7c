"""SPIN's dataset files (Kolotouros et al., 2019), which PARE, PyMAF, SPEC and others took over.

| column | shape | meaning |
|---|---|---|
| imgname | (N,) | picture, relative to the dataset's folder |
| center, scale | (N,2), (N,) | box: middle in px, side in units of 200 px |
| pose, shape | (N,72), (N,10) | SMPL, row 0 of the pose in the camera frame |
| has_smpl | (N,) | 1 where they are known; where it is missing they all are |
| S | (N,24,4) | 3D joints, metres and confidence, the pelvis at the origin |
| part, openpose | (N,24,3), (N,25,3) | 2D joints: as annotated, as detected; px and confidence |
| gender | (N,) | m or f |

All but the first three may be missing.
"""

from pathlib import Path

import numpy as np

from engines.errors import PenumbraError
from trainer.datasets.people import People, no_smpl
from trainer.datasets.skeletons import BODY_25, SPIN_24
from trainer.datasets.table import Table

REQUIRED = ("imgname", "center", "scale")
LABELS = ("pose", "shape")
MARKS = (*LABELS, "S", "part", "openpose")
"""Columns that tell this form from ProHMR's."""
_PX_PER_SCALE = 200.0


def read_spin(path: Path, images: Path) -> People:
    """Read a file whose pictures lie below `images`.

    Raises:
        PenumbraError: the file is missing, broken, empty, or a column is missing or of another
            shape.
    """
    table = Table.read(path, REQUIRED, (*MARKS, "has_smpl", "gender"))
    center, side = table.boxes(_PX_PER_SCALE * table.numbers("scale"))
    rotvec, betas, has_smpl = _smpl(table)
    joints = None
    if "S" in table:
        joints = table.numbers("S", 24, 4)
        joints = np.where(joints[..., 3:] > 0, joints[..., :3], np.nan)
    points = {"openpose": BODY_25, "part": SPIN_24}
    keypoints = [table.numbers(key, len(names), 3) for key, names in points.items() if key in table]
    return People(
        source=path,
        images=tuple(images / name for name in table.words("imgname")),
        center=center,
        side=side,
        rotvec=rotvec,
        betas=betas,
        has_smpl=has_smpl,
        joints_cam=joints,
        joint_names=() if joints is None else SPIN_24,
        keypoints_2d=np.concatenate(keypoints, 1) if keypoints else None,
        keypoint_names=tuple(
            name for key, names in points.items() if key in table for name in names
        ),
        gender=table.genders(),
    )


def _smpl(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    there = [key for key in LABELS if key in table]
    if not there:
        return no_smpl(table.count)
    if len(there) < len(LABELS):
        raise PenumbraError(
            f"{table.path} has {there[0]} without its companion; it needs both pose and shape."
        )
    flagged = table.numbers("has_smpl") > 0 if "has_smpl" in table else np.ones(table.count, bool)
    return table.smpl("pose", "shape", flagged)
