"""ProHMR's dataset files (Kolotouros et al., 2021), which 4D-Humans and others took over.

| column | shape | meaning |
|---|---|---|
| imgname | (N,) | picture, relative to the dataset's picture folder |
| center, scale | (N,2), (N,) or (N,2) | box: middle and side, px |
| body_pose, has_body_pose | (N,72), (N,) | SMPL pose, row 0 in the camera frame; 1 where it is
known | | betas, has_betas | (N,10), (N,) | SMPL shape |
| body_keypoints_2d, extra_keypoints_2d | (N,25,3), (N,19,3) | px and confidence |
| body_keypoints_3d, extra_keypoints_3d | (N,25,4), (N,19,4) | metres and confidence, up to a
translation | | gender | (N,) | m or f |

All but the first three may be missing: then nothing is known, and so it is with a pose or a shape
without its flag.
"""

from pathlib import Path

import numpy as np

from trainer.datasets.people import People, no_smpl
from trainer.datasets.skeletons import BODY_25, EXTRA_19
from trainer.datasets.table import Table

REQUIRED = ("imgname", "center", "scale")
LABELS = ("body_pose", "has_body_pose", "betas", "has_betas")
KEYPOINTS = ("body_keypoints_2d", "extra_keypoints_2d", "body_keypoints_3d", "extra_keypoints_3d")
_NO_JOINTS_OF_BODY_25 = slice(1, 15)
"""In 3D these are ambiguous between datasets; ProHMR gives them no weight and reads the extra ones
instead.
"""


def read_prohmr(path: Path, images: Path) -> People:
    """Read a file whose pictures lie below `images`.

    Raises:
        PenumbraError: the file is missing, broken, empty, or a column is missing or of another
            shape.
    """
    table = Table.read(path, REQUIRED, (*LABELS, *KEYPOINTS, "gender"))
    center, side = table.boxes(_side(table))
    rotvec, betas, has_smpl = _smpl(table)
    joints, keypoints = _both(table, "3d", 4), _both(table, "2d", 3)
    if joints is not None:
        joints[:, _NO_JOINTS_OF_BODY_25, 3] = 0
        joints = np.where(joints[..., 3:] > 0, joints[..., :3], np.nan)
    return People(
        source=path,
        images=tuple(images / name for name in table.words("imgname")),
        center=center,
        side=side,
        rotvec=rotvec,
        betas=betas,
        has_smpl=has_smpl,
        joints_cam=joints,
        joint_names=() if joints is None else BODY_25 + EXTRA_19,
        keypoints_2d=keypoints,
        keypoint_names=() if keypoints is None else BODY_25 + EXTRA_19,
        gender=table.genders(),
    )


def _side(table: Table) -> np.ndarray:
    """(N,) px; of a box that is not square the longer side."""
    if table.columns["scale"].ndim == 2:
        return table.numbers("scale", 2).max(1)
    return table.numbers("scale")


def _smpl(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not all(key in table for key in LABELS):
        return no_smpl(table.count)
    flagged = (table.numbers("has_body_pose") > 0) & (table.numbers("has_betas") > 0)
    return table.smpl("body_pose", "betas", flagged)


def _both(table: Table, kind: str, width: int) -> np.ndarray | None:
    """(N, 44, width) body and extra keypoints; zeros where only one of the two is there, None where
    neither is.
    """
    parts = {f"body_keypoints_{kind}": len(BODY_25), f"extra_keypoints_{kind}": len(EXTRA_19)}
    if not any(key in table for key in parts):
        return None
    found = [
        table.numbers(key, points, width)
        if key in table
        else np.zeros((table.count, points, width))
        for key, points in parts.items()
    ]
    return np.concatenate(found, 1)
