"""3DPW (von Marcard et al., 2018): its own sequence files, or `.npz` files made of them.

A sequence file is a pickle of a dictionary. P people, F images:

| key | content | meaning |
|---|---|---|
| sequence | text | the images are imageFiles/SEQUENCE/image_00000.jpg and so on |
| poses, betas, genders | P of (F,72), (10+), m or f | SMPL; row 0 of the pose in the world |
| jointPositions | P of (F,72) | SMPL's 24 joints in the world, metres |
| poses2d | P of (F,3,18) | OpenPose's x, y px and confidence; zeros below 6 found points |
| cam_poses | (F,4,4) | from the world to the camera |
| cam_intrinsics | (3,3) | camera matrix, px |
| campose_valid | P of (F,) | whether the camera was aligned for this person in this image |

A pickle is a program; `engines.smpl_pickle.read_smpl_pickle` builds arrays from it and runs
nothing that it brings along.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.errors import PenumbraError
from engines.rotations import exp_so3, log_so3
from engines.smpl_pickle import read_smpl_pickle
from engines.types import JOINT_NAMES, NUM_BETAS
from trainer.datasets.npz_forms import read_preprocessed
from trainer.datasets.people import COCO_18, GENDERS, People

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_PER_PERSON = ("poses", "betas", "genders", "jointPositions", "poses2d", "campose_valid")
_KEYS = ("sequence", "cam_poses", "cam_intrinsics", *_PER_PERSON)
_BOX = 1.2
"""Side of the box in terms of the detections' extent, as ProHMR and SPIN have it."""


def read_3dpw(root: Path, split: str, images: Path | None = None) -> People:
    """Read a split.

    Args:
        root: folder with `sequenceFiles` or with `3dpw_SPLIT.npz`, or an `.npz` file of ProHMR's or
            SPIN's form.
        split: train, val (validation) or test.
        images: where the images' names start; 3DPW's own folder, which `root` is taken for where
            None.

    Raises:
        PenumbraError: nothing of that kind is there, a file is broken, unsafe or empty, or a key is
            missing.
    """
    if split not in SPLITS:
        raise PenumbraError(
            f"split: {split} is not one of 3DPW's; name one of {', '.join(sorted(SPLITS))}."
        )
    if root.is_file():
        return read_preprocessed(root, images or root.parent)
    images = images or root
    folder = root / "sequenceFiles" / SPLITS[split]
    if folder.is_dir():
        return _read_sequences(folder, images)
    for name in dict.fromkeys((split, SPLITS[split])):
        if (root / f"3dpw_{name}.npz").is_file():
            return read_preprocessed(root / f"3dpw_{name}.npz", images)
    raise PenumbraError(
        f"root: {root} has neither sequenceFiles/{SPLITS[split]} nor 3dpw_{SPLITS[split]}.npz;"
        " name the folder that has one."
    )


def _read_sequences(folder: Path, images: Path) -> People:
    paths = sorted(folder.glob("*.pkl"))
    if not paths:
        raise PenumbraError(f"{folder}: holds no .pkl file; unpack 3DPW completely.")
    parts = [part for path in paths for part in _read_sequence(path, images)]
    if not parts:
        raise PenumbraError(
            f"{folder}: no image has an aligned camera and detections; give another split."
        )
    arrays = ("center", "side", "rotvec", "betas", "has_smpl", "K", "joints_cam", "keypoints_2d")
    return People(
        source=folder,
        images=tuple(image for part in parts for image in part.images),
        joint_names=JOINT_NAMES,
        placed=True,
        keypoint_names=COCO_18,
        gender=tuple(gender for part in parts for gender in part.gender or ()),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
    )


def _read_sequence(path: Path, images: Path) -> list[People]:
    """Read the people of one file, in images with an aligned camera and detected joints."""
    try:
        data = read_smpl_pickle(path)
    except PenumbraError as error:
        raise PenumbraError(f"{path}: not a sequence of 3DPW: {error}") from error
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise PenumbraError(f"{path}: lacks {', '.join(missing)}; give a sequence of 3DPW.")
    T_cam_world = _numbers(data["cam_poses"], path, "cam_poses", None, 4, 4)
    frames = len(T_cam_world)
    K = _numbers(data["cam_intrinsics"], path, "cam_intrinsics", 3, 3)
    people = _people(data, path)
    names = [
        images / "imageFiles" / str(data["sequence"]) / f"image_{frame:05d}.jpg"
        for frame in range(frames)
    ]
    return [
        part
        for person in range(people)
        if (part := _person(data, person, path, names, T_cam_world, K)).count
    ]


def _people(data: dict[str, Any], path: Path) -> int:
    """Count the people, on which all lists of a sequence must agree."""
    counts = {
        key: len(data[key]) if isinstance(data[key], list | tuple | np.ndarray) else -1
        for key in _PER_PERSON
    }
    if len(set(counts.values())) != 1 or -1 in counts.values():
        raise PenumbraError(
            f"{path}: {', '.join(_PER_PERSON)} are not lists of the same length ({counts}); unpack"
            " 3DPW again."
        )
    return counts["poses"]


def _person(
    data: dict[str, Any],
    person: int,
    path: Path,
    names: list[Path],
    T_cam_world: Float[np.ndarray, "F 4 4"],
    K: Float[np.ndarray, "3 3"],
) -> People:
    frames = len(names)
    poses = _numbers(data["poses"][person], path, "poses", frames, 72).reshape(-1, 24, 3)
    joints = _numbers(data["jointPositions"][person], path, "jointPositions", frames, 72).reshape(
        -1, 24, 3
    )
    points = _numbers(data["poses2d"][person], path, "poses2d", frames, 3, len(COCO_18)).swapaxes(
        1, 2
    )
    betas = _numbers(np.ravel(data["betas"][person]), path, "betas", None)
    if len(betas) < NUM_BETAS:
        raise PenumbraError(
            f"{path}: betas has {len(betas)} numbers where SMPL has {NUM_BETAS} or more; unpack"
            " 3DPW again."
        )
    valid = _numbers(data["campose_valid"][person], path, "campose_valid", frames) > 0
    rows = np.flatnonzero(valid & (points[..., 2] > 0).any(1))
    points = points[rows]
    R = T_cam_world[rows, :3, :3]
    t = T_cam_world[rows, :3, 3]
    center, side = _boxes(points)
    rotvec = poses[rows]
    rotvec[:, 0] = log_so3(R @ exp_so3(rotvec[:, 0]))
    return People(
        source=path,
        images=tuple(names[row] for row in rows),
        center=center,
        side=side,
        rotvec=rotvec,
        betas=np.tile(betas[:NUM_BETAS], (len(rows), 1)),
        has_smpl=np.ones(len(rows), bool),
        K=np.tile(K, (len(rows), 1, 1)),
        joints_cam=joints[rows] @ R.swapaxes(1, 2) + t[:, None],
        joint_names=JOINT_NAMES,
        placed=True,
        keypoints_2d=points,
        keypoint_names=COCO_18,
        gender=(GENDERS.get(str(data["genders"][person]).lower(), ""),) * len(rows),
    )


def _boxes(
    points: Float[np.ndarray, "N M 3"],
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Draw square boxes about the detected points; a single point gets a box of 1 px."""
    found = points[..., 2:] > 0
    low = np.where(found, points[..., :2], np.inf).min(1)
    high = np.where(found, points[..., :2], -np.inf).max(1)
    return (low + high) / 2, np.maximum(_BOX * (high - low).max(1), 1.0)


def _numbers(value: Any, path: Path, key: str, *shape: int | None) -> np.ndarray:
    """Take an array of finite numbers, float64; None in `shape` is any length."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise PenumbraError(
            f"{path}: {key} is not an array ({error}); unpack 3DPW again."
        ) from error
    if array.dtype.kind not in "fiub":
        raise PenumbraError(f"{path}: {key} holds {array.dtype}, not numbers; unpack 3DPW again.")
    fits = array.ndim == len(shape) and all(
        w in (None, s) for w, s in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = tuple("any" if want is None else want for want in shape)
        raise PenumbraError(
            f"{path}: {key} has shape {array.shape}, not {wanted}; unpack 3DPW again."
        )
    if not np.isfinite(array).all():
        raise PenumbraError(f"{path}: {key} holds numbers that are not finite; unpack 3DPW again.")
    return array.astype(np.float64)
