"""Labelled people before a camera with an odd principal point."""

from pathlib import Path

import cv2
import numpy as np

from engines.body import BodyModel, joints_only
from engines.camera import Intrinsics
from trainer.datasets.people import People, no_smpl

WIDE = Intrinsics(900.0, 950.0, 600.0, 400.0, (1280, 720))


def rooted_joints(
    body: BodyModel, rotvec: np.ndarray, betas: np.ndarray | None = None
) -> np.ndarray:
    """(24, 3) joints of a pose, metres, the pelvis at the origin."""
    shape = np.zeros(10) if betas is None else betas
    joints = joints_only(body, rotvec, shape, np.zeros(3)).astype(float)
    return joints - joints[0]


def blank_image(path: Path, size: tuple[int, int]) -> Path:
    """Write a black image."""
    assert cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
    return path


def people_of(image: Path, count: int = 1, **known: object) -> People:
    """People in one image, in a box of 400 px about the middle, without other labels than given."""
    rotvec, betas, has_smpl = no_smpl(count)
    given = {"rotvec": rotvec, "betas": betas, "has_smpl": has_smpl}
    given |= {"center": np.tile([640.0, 360.0], (count, 1)), "side": np.full(count, 400.0)} | known
    return People(source=Path("some"), images=(image,) * count, **given)  # pyright: ignore[reportArgumentType]
