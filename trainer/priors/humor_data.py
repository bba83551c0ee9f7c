"""Recorded motion as HuMoR is trained on it: runs of frames without gaps, the floor, contacts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engines.arrays import read_npz
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.fitting.sequences.sequence import BodySequence
from engines.priors.motion.layout import BODY, CONTACTS, FPS
from engines.rotations import exp_so3, geodesic_angle
from engines.types import NUM_JOINTS
from trainer.motion.anatomy import MIRRORED_JOINTS
from trainer.motion.poses import SPLITS, Poses, Split
from trainer.priors.humor_state import Frames, world_joints

Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""From the recordings' world, y up, to ours."""
_FASTEST_M = 0.25
_FASTEST_RAD = 0.8
"""Faster steps than these, in a frame, are breaks of the recording: 7.5 m/s, 24 rad/s."""
_FLOOR_SHARE = 0.05
"""The floor of a clip is where this share of its frames' lowest soles lie below."""
_RATE_ERROR = 0.02
"""CMU's rates are 29.97 to 30 a second."""
CONTACT_SPEED = 0.25
"""A joint that touches the floor is slower, metres per second."""
CONTACT_HEIGHT_M = 0.1
"""And its sole is no higher: floors of recordings are not quite level, feet not quite alike."""


@dataclass(frozen=True)
class MotionData:
    """Frames of one split in the order of time, and where they hang together."""

    frames: Frames
    """N of them."""
    contact: Bool[Tensor, "N 4"]
    """Whether each of `CONTACTS` stands on the floor since the frame before."""
    joined: Bool[np.ndarray, "N"]
    """Whether a frame follows upon the one before."""
    clip: Int[np.ndarray, "N"]
    rest: Float[Tensor, "22 3"]
    """Rest joints of the body, metres."""

    @staticmethod
    def load(path: Path, split: Split, body: BodyModel) -> "MotionData":
        """Read a split of the poses that `trainer.mocap` wrote.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        poses = Poses.load(path)
        _check_rate(path)
        chosen = np.flatnonzero(poses.split == SPLITS.index(split))
        number = _frame_numbers(path)[chosen]
        clip = poses.clip[chosen]
        rest = body.rest_joints(np.zeros(10)).astype(np.float64)
        R = exp_so3(poses.rotvec[chosen, :BODY].astype(np.float64))
        R[:, 0] = Z_UP @ R[:, 0]
        pelvis = (poses.transl[chosen] + rest[0]) @ Z_UP.T
        frames = Frames(torch.from_numpy(R), torch.from_numpy(pelvis))
        tensors = torch.from_numpy(rest[:BODY])
        joints = world_joints(tensors, frames).numpy()
        soles = joints[:, list(CONTACTS), 2] - sole_heights(body)
        floor = _floors(soles, clip)
        pelvis[:, 2] -= floor
        joined = np.zeros(len(clip), bool)
        joined[1:] = (clip[1:] == clip[:-1]) & (number[1:] == number[:-1] + 1)
        joined[1:] &= np.linalg.norm(np.diff(pelvis, axis=0), axis=-1) < _FASTEST_M
        joined[1:] &= geodesic_angle(R[:-1], R[1:]).max(-1) < _FASTEST_RAD
        feet = joints[:, list(CONTACTS)]
        speed = np.full(feet.shape[:2], np.inf)
        speed[1:] = np.linalg.norm(np.diff(feet, axis=0), axis=-1) * FPS
        contact = (speed < CONTACT_SPEED) & (soles - floor[:, None] < CONTACT_HEIGHT_M)
        return MotionData(
            Frames(frames.R.float(), torch.from_numpy(pelvis).float()),
            torch.from_numpy(contact & joined[:, None]),
            joined,
            clip,
            tensors.float(),
        )

    def windows(self, length: int) -> Int[np.ndarray, "W"]:
        """Return where runs of `length` frames without a gap begin."""
        broken = np.concatenate([[0], np.cumsum(~self.joined)])
        starts = np.arange(len(self.joined) - length + 1)
        return starts[broken[starts + length] == broken[starts + 1]]

    def take(
        self, starts: Int[np.ndarray, "B"], length: int, mirrored: Bool[np.ndarray, "B"] | None
    ) -> tuple[Frames, Float[Tensor, "B T 4"]]:
        """Return windows, some of them in a mirror, and their contacts."""
        index = torch.from_numpy(starts[:, None] + np.arange(length))
        frames = Frames(self.frames.R[index], self.frames.pelvis[index])
        contact = self.contact[index].float()
        if mirrored is None:
            return frames, contact
        mask = torch.from_numpy(mirrored)
        there = torch.tensor([1, 0, 3, 2])  # CONTACTS, left and right exchanged
        contact = torch.where(mask[:, None, None], contact[..., there], contact)
        return mirror(frames).where(mask, frames), contact

    def sequence(self, start: int, length: int) -> BodySequence:
        """Return a window for `engines.fitting.sequences`; hands are at rest."""
        rows = slice(start, start + length)
        R = np.tile(np.eye(3), (length, NUM_JOINTS, 1, 1))
        R[:, :BODY] = self.frames.R[rows].numpy()
        pelvis = self.frames.pelvis[rows].numpy().astype(np.float64)
        return BodySequence(R, pelvis, np.zeros(0))


def mirror(frames: Frames) -> Frames:
    """Mirror bodies in the plane x = 0 of the body and of the world."""
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=frames.R.dtype)
    swapped = frames.R[..., list(MIRRORED_JOINTS[:BODY]), :, :]
    return Frames(flip[:, None] * swapped * flip, frames.pelvis * flip)


def sole_heights(body: BodyModel) -> Float[np.ndarray, "4"]:
    """How high each of `CONTACTS` is above the sole of a standing body, metres."""
    lowest = float(body.full.v_template[:, 1].min())
    return body.J_template[list(CONTACTS), 1].astype(np.float64) - lowest


def _floors(soles: Float[np.ndarray, "N 4"], clip: Int[np.ndarray, "N"]) -> np.ndarray:
    """The height of the floor in each frame's clip."""
    lowest = soles.min(-1)
    floor = np.empty_like(lowest)
    for one in np.unique(clip):
        floor[clip == one] = np.quantile(lowest[clip == one], _FLOOR_SHARE)
    return floor


def _check_rate(path: Path) -> None:
    """Refuse clips at another rate than that of the prior, which counts speeds by frames.

    Raises:
        PenumbraError: there are such.
    """
    rates = read_npz(path, ("clip_fps",)).get("clip_fps")
    if rates is not None and (wrong := rates[np.abs(rates / FPS - 1.0) > _RATE_ERROR]).size:
        raise PenumbraError(
            f"poses: {path} has clips of {wrong[0]:g} frames a second, and humor learns motion at "
            f"{FPS:g}; convert the clips and run python -m trainer.mocap again."
        )


def _frame_numbers(path: Path) -> Int[np.ndarray, "N"]:
    numbers = read_npz(path, ("frame",)).get("frame")
    if numbers is None:
        raise PenumbraError(f"poses: {path} lacks frame; write it with python -m trainer.mocap.")
    return numbers
