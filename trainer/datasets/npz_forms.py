"""The two usual preprocessed forms of datasets with SMPL labels, as `.npz`: ProHMR's and SPIN's.

Of both: `imgname` (N,) image, relative to the dataset's image folder; `center` (N, 2) middle of the
box, px; `gender` (N,) m or f. Columns other than `imgname`, `center` and `scale` may be missing.

ProHMR's (Kolotouros et al., 2021), which 4D-Humans and others took over. A pose or a shape without
its flag counts as unknown.

| column | shape | meaning |
|---|---|---|
| scale | (N,) or (N, 2) | side of the box, px |
| body_pose, has_body_pose | (N, 72), (N,) | SMPL pose, row 0 in the camera frame; 1 if known |
| betas, has_betas | (N, 10), (N,) | SMPL shape; 1 if known |
| body_keypoints_2d, extra_keypoints_2d | (N, 25, 3), (N, 19, 3) | px and confidence |
| body_keypoints_3d, extra_keypoints_3d | (N, 25, 4), (N, 19, 4) | metres (any origin), confidence |

SPIN's (Kolotouros et al., 2019), which PARE, PyMAF, SPEC and others took over.

| column | shape | meaning |
|---|---|---|
| scale | (N,) | side of the box in units of 200 px |
| pose, shape | (N, 72), (N, 10) | SMPL, row 0 of the pose in the camera frame |
| has_smpl | (N,) | 1 where they are known; where it is missing they all are |
| S | (N, 24, 4) | 3D joints, metres and confidence, the pelvis at the origin |
| part, openpose | (N, 24, 3), (N, 25, 3) | 2D joints: annotated, detected; px and confidence |
"""

from pathlib import Path

import numpy as np

from engines.errors import PenumbraError
from trainer.datasets.people import BODY_25, EXTRA_19, SPIN_24, People, no_smpl
from trainer.datasets.table import Table

_REQUIRED = ("imgname", "center", "scale")
_PROHMR_LABELS = ("body_pose", "has_body_pose", "betas", "has_betas")
_PROHMR_KEYPOINTS = (
    "body_keypoints_2d",
    "extra_keypoints_2d",
    "body_keypoints_3d",
    "extra_keypoints_3d",
)
_AMBIGUOUS_OF_BODY_25 = slice(1, 15)
"""In 3D these differ between datasets; ProHMR gives them no weight and reads the extra ones."""
_SPIN_LABELS = ("pose", "shape")
_SPIN_COLUMNS = (*_SPIN_LABELS, "S", "part", "openpose")
"""Columns that tell this form from ProHMR's."""
_SPIN_PX_PER_SCALE = 200.0


def read_preprocessed(path: Path, images: Path) -> People:
    """Read a file of either form; the images' names start at `images`.

    Raises:
        PenumbraError: the file is missing, broken or empty, has columns of both forms or of
            neither.
    """
    columns = {read_prohmr: (*_PROHMR_LABELS, *_PROHMR_KEYPOINTS), read_spin: _SPIN_COLUMNS}
    table = Table.read(path, ("imgname",), tuple(key for keys in columns.values() for key in keys))
    forms = [read for read, keys in columns.items() if any(key in table for key in keys)]
    if len(forms) != 1:
        raise PenumbraError(
            f"{path}: has columns of {'both' if forms else 'neither'} of the known forms, ProHMR's"
            " (body_pose, ...) and SPIN's (pose, S, part, ...), so the unit of its boxes is"
            " unknown; keep those of one form."
        )
    return forms[0](path, images)


def read_prohmr(path: Path, images: Path) -> People:
    """Read a file in ProHMR's form whose images lie below `images`.

    Raises:
        PenumbraError: the file is missing, broken, empty, or a column is missing or of another
            shape.
    """
    table = Table.read(path, _REQUIRED, (*_PROHMR_LABELS, *_PROHMR_KEYPOINTS, "gender"))
    center, side = table.boxes(_prohmr_side(table))
    rotvec, betas, has_smpl = _prohmr_smpl(table)
    joints = _body_and_extra(table, "3d", 4)
    keypoints = _body_and_extra(table, "2d", 3)
    if joints is not None:
        joints[:, _AMBIGUOUS_OF_BODY_25, 3] = 0
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


def read_spin(path: Path, images: Path) -> People:
    """Read a file in SPIN's form whose images lie below `images`.

    Raises:
        PenumbraError: the file is missing, broken, empty, or a column is missing or of another
            shape.
    """
    table = Table.read(path, _REQUIRED, (*_SPIN_COLUMNS, "has_smpl", "gender"))
    center, side = table.boxes(_SPIN_PX_PER_SCALE * table.numbers("scale"))
    rotvec, betas, has_smpl = _spin_smpl(table)
    joints = None
    if "S" in table:
        joints = table.numbers("S", 24, 4)
        joints = np.where(joints[..., 3:] > 0, joints[..., :3], np.nan)
    orders = {"openpose": BODY_25, "part": SPIN_24}
    given = {key: names for key, names in orders.items() if key in table}
    keypoints = [table.numbers(key, len(names), 3) for key, names in given.items()]
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
        keypoint_names=tuple(name for names in given.values() for name in names),
        gender=table.genders(),
    )


def _prohmr_side(table: Table) -> np.ndarray:
    """(N,) px; of a box that is not square the longer side."""
    if table.columns["scale"].ndim == 2:
        return table.numbers("scale", 2).max(1)
    return table.numbers("scale")


def _prohmr_smpl(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not all(key in table for key in _PROHMR_LABELS):
        return no_smpl(table.count)
    flagged = (table.numbers("has_body_pose") > 0) & (table.numbers("has_betas") > 0)
    return table.smpl("body_pose", "betas", flagged)


def _spin_smpl(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    given = [key for key in _SPIN_LABELS if key in table]
    if not given:
        return no_smpl(table.count)
    if len(given) < len(_SPIN_LABELS):
        raise PenumbraError(
            f"{table.path}: has {given[0]} without its companion; it needs both pose and shape."
        )
    flagged = table.numbers("has_smpl") > 0 if "has_smpl" in table else np.ones(table.count, bool)
    return table.smpl("pose", "shape", flagged)


def _body_and_extra(table: Table, kind: str, width: int) -> np.ndarray | None:
    """(N, 44, width) body and extra keypoints.

    Zeros stand for one of the two that is missing; None where both are.
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
