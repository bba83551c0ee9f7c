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
from engines.outputs import open_output
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

    Raises:
        PenumbraError: `clips.csv` is missing or cannot be used, a clip cannot be read, or the
            result cannot be written.
    """
    rows = _listed_clips(config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with open_output(config.out, "out", ".npz", force=True) as output:
        poses, left_out = _converted(config, rows)
        np.savez_compressed(output.file, **poses)
        output.commit()
    print(
        f"{config.out}: {len(poses['rotvec'])} poses of {len(rows)} clips,"
        f" {left_out} implausible frames left out"
    )


def _converted(
    config: MocapConfig, rows: list[dict[str, str]]
) -> tuple[dict[str, np.ndarray], int]:
    """Read the clips; the arrays to write, and how many implausible frames are not among them."""
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
    arrays = {
        "rotvec": rotvec[keep].astype(np.float32),
        "transl": transl[keep].astype(np.float32),
        "clip": np.repeat(np.arange(len(rows), dtype=np.int32), lengths)[keep],
        "frame": frame[keep],
        "split": np.repeat(split, lengths)[keep],
        "splits": np.array(SPLITS),
        "clip_names": np.array([row["clip"] for row in rows]),
        "clip_subjects": np.array([row["subject"] for row in rows]),
        "clip_fps": np.array([motion.fps for motion in motions]),
    }
    return arrays, int((~keep).sum())


def _listed_clips(config: MocapConfig) -> list[dict[str, str]]:
    """Read `clips.csv` without the clips that are skipped."""
    table = config.root / "clips.csv"
    if not table.is_file():
        raise PenumbraError(f"--root: {config.root} has no clips.csv; name the folder that has it.")
    try:
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["clip"] not in config.skip]
        _check(rows)
    except KeyError as error:
        raise PenumbraError(f"--root: {table} has no column {error}; add it.") from error
    except (ValueError, TypeError) as error:
        raise PenumbraError(f"--root: {table} cannot be used ({error}); correct it.") from error
    return rows


def _check(rows: list[dict[str, str]]) -> None:
    """Refuse rows that cannot be read, or that show one subject in two splits.

    Raises:
        KeyError: a column is missing.
        ValueError: a number or a split is none, or a subject is in two splits.
    """
    if not rows:
        raise ValueError("it lists no clip")
    splits: dict[str, str] = {}
    for row in rows:
        if row["file"] is None or not float(row["fps"]) > 0:
            raise ValueError(f"clip {row['clip']} has no file, or no frame rate")
        if row["split"] not in SPLITS:
            raise ValueError(f"split {row['split']} is not one of {', '.join(SPLITS)}")
        if splits.setdefault(row["subject"], row["split"]) != row["split"]:
            raise ValueError(f"subject {row['subject']} is in two splits")


if __name__ == "__main__":
    start(main, MocapConfig)
