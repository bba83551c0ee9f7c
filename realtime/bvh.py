"""Writes a person of an archive as BVH, the motion that animation programs read.

    python -m realtime.bvh walk.npz --out walk.bvh

    rows of one person -> one skeleton, local rotations -> equal steps of time -> text

The skeleton has SMPL's 24 joints, y up, the T-pose facing +z, centimetres, the floor at 0 where one
was found. The camera stands where the archive's last row with a person says, for all people and
frames: gravity and floor are known best at the end. Bones are those of the person's median shape,
since a BVH cannot change them. Nor can it say how sure a joint is: what is guessed looks like what
is seen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation, Slerp

from engines import command
from engines.arrays import read_npz
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.outputs import open_output
from engines.printable import printable
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS, PARENTS

_CM = 100.0
_R_YUP_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
_ROTATION = "Zrotation Xrotation Yrotation"
_LEAF_CM = 5.0
"""Length of what hangs on hands, feet and the head; programs draw no bone without it."""
_SHAPES = {
    "t": (),
    "found": (),
    "track_id": (),
    "T_world_cam": (4, 4),
    "floor_std": (),
    "joints": (NUM_JOINTS, 3),
    "joint_visible": (NUM_JOINTS,),
    "global_orient": (3,),
    "body_pose": (3 * (NUM_JOINTS - 1),),
    "betas": (NUM_BETAS,),
}
"""What is read of an archive, without the rows."""


@dataclass(frozen=True)
class Motion:
    """One person over N moments, equally far apart."""

    offsets: Float[np.ndarray, "24 3"]
    """From each joint's parent to it, in the T-pose, metres; zero for the pelvis."""
    pelvis: Float[np.ndarray, "N 3"]
    """Metres, y up."""
    R: Float[np.ndarray, "N 24 3 3"]
    """Rotations relative to the parent; the pelvis' to the world."""
    fps: float


@dataclass(frozen=True)
class Options:
    """Write a person of an archive as BVH."""

    archive: Annotated[Path, tyro.conf.Positional]
    """What `run_demo.py --out` wrote."""
    out: Path | None = None
    """The result; the archive's name with `.bvh` when None."""
    person: int | None = None
    """Their `track_id`; who is in most frames when None."""
    fps: float | None = None
    """Frames per second of the result; those of the archive when None."""
    body: Path | None = None
    """That the archive was made with; the default body when None."""
    force: bool = False
    """Replace a result that exists already."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 2 where something must be put right."""
    command.start(run, Options, arguments)


def run(options: Options) -> None:
    """Write one person, and say what the file cannot.

    Raises:
        PenumbraError: the archive cannot be read or has no such person, or the result cannot be
            written.
    """
    rows, body_name = _read(options.archive)
    body = BodyModel.load(options.body)
    if body.name != body_name:
        raise PenumbraError(
            f"body: the archive was made with {printable(body_name)}, not with {body.name}; give "
            "its file."
        )
    person = _person(rows["track_id"], options.person)
    of_person = {name: values[rows["track_id"] == person] for name, values in rows.items()}
    motion = motion_of(of_person, body, rows["T_world_cam"][-1], options.fps)
    out = options.out or options.archive.with_suffix(".bvh")
    with open_output(out, "out", ".bvh", force=options.force) as output:
        output.write(bvh_text(motion).encode())
        output.commit()
    print(f"{out}: {_summary(person, rows, motion)}")


def motion_of(
    rows: dict[str, np.ndarray],
    body: BodyModel,
    T_world_cam: Float[np.ndarray, "4 4"],
    fps: float | None = None,
) -> Motion:
    """Bring one person's rows into the world, and to equal steps of time.

    Rotations are interpolated on the shortest way, positions linearly, also over gaps.

    Args:
        rows: of an archive, all of one person.
        body: that they were estimated with.
        T_world_cam: where the camera stands, in all frames.
        fps: frames per second of the result; those of the rows when None.

    Raises:
        PenumbraError: there are fewer than two moments, or `fps` is too low or too high.
    """
    t, order = np.unique(rows["t"], return_index=True)
    if len(t) < 2:
        raise PenumbraError("archive: a motion needs two frames of the person; give a longer one.")
    rate = _usual_rate(t) if fps is None else fps
    if not 1.0 / (t[-1] - t[0]) <= rate <= 1000.0:
        raise PenumbraError(
            f"fps: must be at most 1000 and give two frames in {t[-1] - t[0]:.4g} s, not {rate:g}; "
            "give another."
        )
    rotvec = np.concatenate([rows["global_orient"], rows["body_pose"]], 1)[order]
    R = exp_so3(rotvec.reshape(-1, NUM_JOINTS, 3).astype(float))
    R_yup_cam = _R_YUP_WORLD @ T_world_cam[:3, :3]
    R[:, 0] = R_yup_cam @ R[:, 0]
    pelvis = rows["joints"][order, 0] @ R_yup_cam.T + _R_YUP_WORLD @ T_world_cam[:3, 3]
    at = t[0] + np.arange(int(np.floor((t[-1] - t[0]) * rate + 1e-6)) + 1) / rate
    at = np.minimum(at, t[-1])
    turned = [Slerp(t, Rotation.from_matrix(R[:, j]))(at).as_matrix() for j in range(NUM_JOINTS)]
    moved = np.column_stack([np.interp(at, t, axis) for axis in pelvis.T])
    rest = body.rest_joints(np.median(rows["betas"], 0)).astype(float)
    offsets = np.array(
        [rest[j] - rest[p] if p >= 0 else np.zeros(3) for j, p in enumerate(PARENTS)]
    )
    return Motion(offsets, moved, np.stack(turned, 1), rate)


def _usual_rate(t: Float[np.ndarray, "N"]) -> float:
    """Frames per second without gaps: a mean, since containers round times to milliseconds."""
    steps = np.diff(t)
    return float(1.0 / steps[steps < 1.5 * np.median(steps)].mean())


def _summary(person: int, rows: dict[str, np.ndarray], motion: Motion) -> str:
    """Say what was written, what BVH cannot say, and who is not in it."""
    own = rows["track_id"] == person
    t = rows["t"][own]
    said = [
        f"person {person}, {len(motion.pelvis)} frames at {motion.fps:.4g} per second, from "
        f"{t[0]:.2f} s of the archive on, longest gap {np.diff(t).max():.2f} s",
        f"{(rows['joint_visible'][own] < 0.5).mean():.0%} of the joints are guessed, which BVH "
        "cannot say",
    ]
    if not np.isfinite(rows["floor_std"][-1]):
        said.append("no floor was found, so its height is a guess")
    others = [
        f"{other} ({len(at)} frames, {at[0]:.2f} to {at[-1]:.2f} s)"
        for other in np.unique(rows["track_id"][~own])
        for at in [rows["t"][rows["track_id"] == other]]
    ]
    if others:
        said.append(f"not in it: {', '.join(others)}, see --person")
    return "; ".join(said)


def bvh_text(motion: Motion) -> str:
    """Return the file: a hierarchy, then one line of numbers for each moment.

    Joints come depth first, and the numbers in the same order.
    """
    lines, order = ["HIERARCHY"], []
    _describe(0, 0, motion.offsets, lines, order)
    lines += ["MOTION", f"Frames: {len(motion.pelvis)}", f"Frame Time: {1.0 / motion.fps:.9f}"]
    count = len(motion.R)
    flat = motion.R[:, order].reshape(-1, 3, 3)
    degrees = Rotation.from_matrix(flat).as_euler("ZXY", degrees=True).reshape(count, -1)
    degrees = np.unwrap(degrees, period=360.0, axis=0)  # programs interpolate each by itself
    numbers = np.column_stack([_CM * motion.pelvis, degrees])
    lines += [" ".join(f"{number:.5f}" for number in row) for row in numbers]
    return "\n".join(lines) + "\n"


def _describe(
    joint: int,
    depth: int,
    offsets: Float[np.ndarray, "24 3"],
    lines: list[str],
    order: list[int],
) -> None:
    """Append a joint and all below it."""
    order.append(joint)
    tab = "\t" * depth
    channels = f"3 {_ROTATION}" if depth else f"6 Xposition Yposition Zposition {_ROTATION}"
    lines += [f"{tab}{'JOINT' if depth else 'ROOT'} {JOINT_NAMES[joint]}", f"{tab}{{"]
    lines += [f"{tab}\tOFFSET {_vector(_CM * offsets[joint])}", f"{tab}\tCHANNELS {channels}"]
    children = [child for child, parent in enumerate(PARENTS) if parent == joint]
    for child in children:
        _describe(child, depth + 1, offsets, lines, order)
    if not children:
        leaf = _LEAF_CM * offsets[joint] / np.linalg.norm(offsets[joint])
        lines += [
            f"{tab}\tEnd Site",
            f"{tab}\t{{",
            f"{tab}\t\tOFFSET {_vector(leaf)}",
            f"{tab}\t}}",
        ]
    lines.append(f"{tab}}}")


def _vector(values: Float[np.ndarray, "3"]) -> str:
    return " ".join(f"{value:.5f}" for value in values)


def _person(track_ids: Int[np.ndarray, "N"], wanted: int | None) -> int:
    """Whom to write."""
    ids, counts = np.unique(track_ids, return_counts=True)
    if wanted is None:
        return int(ids[counts.argmax()])
    if wanted not in ids:
        people = ", ".join(f"{one} ({n} frames)" for one, n in zip(ids, counts, strict=True))
        raise PenumbraError(f"person: {wanted} is not in the archive; it has {people}.")
    return wanted


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read the rows that have a person, and the body's name.

    Raises:
        PenumbraError: it is no archive, or has nobody.
    """
    try:
        arrays = read_npz(path, (*_SHAPES, "meta"))
        meta = json.loads(str(arrays.pop("meta")))
        found = arrays["found"].astype(bool)
        for name, shape in _SHAPES.items():
            if arrays[name].shape != (len(found), *shape):
                raise ValueError(f"{name} is {arrays[name].shape}")
        rows = {name: arrays[name][found] for name in _SHAPES}
        if not all(np.isfinite(rows[name]).all() for name in rows if name != "floor_std"):
            raise ValueError("numbers of a person are not finite")
        name = str(meta["body"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PenumbraError(
            f"archive: {path} is not what run_demo.py --out writes ({printable(str(error))}); give "
            "such a file."
        ) from error
    if "images" in meta:
        raise PenumbraError(f"archive: {path} is of photos, which are no motion; give a video's.")
    if not found.any():
        raise PenumbraError(f"archive: {path} has nobody; give one with a person.")
    return rows, name


if __name__ == "__main__":
    main()
