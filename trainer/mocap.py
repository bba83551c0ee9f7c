"""Convert a folder of motion capture clips to SMPL poses in one file.

    python -m trainer.mocap --root ../shared/data/mocap/cmu --out runs/poses.npz

`trainer.motion.clip` reads the formats; `trainer.motion.poses` reads what is written here.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engines.errors import PenumbraError
from trainer.command import start
from trainer.motion.anatomy import plausible
from trainer.motion.clip import load_clip, rest_joints
from trainer.motion.poses import SPLITS


@dataclass(frozen=True)
class MocapConfig:
    """Read every clip that `clips.csv` lists and write their poses into one file."""

    root: Path = Path("../shared/data/mocap/cmu")
    """Folder with clips.csv, which has columns clip, subject, split, file and fps."""
    out: Path = Path("runs/poses.npz")
    body: Path | None = None
    """Whose skeleton takes the poses, of `engines.convert_smpl`; the default body when None."""
    skip: tuple[str, ...] = ("16_11",)
    """Clips to leave out. CMU's 16_11.amc gives three angles for every bone, in other axes than its
    skeleton declares."""


def main(config: MocapConfig) -> None:
    """Write the poses, N frames in the order of the C clips; implausible frames are left out.

    `rotvec` (N,24,3) and `transl` (N,3) float32, `clip` (N,) index into the per-clip arrays,
    `frame` (N,) index within the clip, `split` (N,) uint8 index into `splits`, `clip_names`,
    `clip_subjects`, `clip_fps` (C,).
    """
    rows = _listed_clips(config)
    rest = rest_joints(config.body)
    motions = [
        load_clip(config.root / row["file"], float(row["fps"]), rest)
        for row in tqdm(rows, unit="clip")
    ]
    lengths = [len(motion.rotvec) for motion in motions]
    rotvec = np.concatenate([motion.rotvec for motion in motions])
    transl = np.concatenate([motion.transl for motion in motions])
    frame = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    split = np.array([SPLITS.index(row["split"]) for row in rows], np.uint8)
    keep = plausible(rotvec)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        config.out,
        rotvec=rotvec[keep].astype(np.float32),
        transl=transl[keep].astype(np.float32),
        clip=np.repeat(np.arange(len(rows), dtype=np.int32), lengths)[keep],
        frame=frame[keep],
        split=np.repeat(split, lengths)[keep],
        splits=np.array(SPLITS),
        clip_names=np.array([row["clip"] for row in rows]),
        clip_subjects=np.array([row["subject"] for row in rows]),
        clip_fps=np.array([motion.fps for motion in motions]),
    )
    print(
        f"{config.out}: {keep.sum()} poses of {len(rows)} clips,"
        f" {(~keep).sum()} implausible frames left out"
    )


def _listed_clips(config: MocapConfig) -> list[dict[str, str]]:
    """Read `clips.csv` without the clips that are skipped."""
    table = config.root / "clips.csv"
    if not table.is_file():
        raise PenumbraError(f"--root: {config.root} has no clips.csv; name the folder that has it.")
    with table.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["clip"] not in config.skip]


if __name__ == "__main__":
    start(main, MocapConfig)
