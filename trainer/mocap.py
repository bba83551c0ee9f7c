"""Motion capture to SMPL pose parameters: one clip, or a whole folder into one file.

    python -m trainer.mocap --root ../shared/data/mocap/cmu --out runs/poses.npz

`load_clip` reads `.amc` (with the `.asf` beside it), `.bvh` (CMU's "MotionBuilder-friendly" and
"Daz-friendly" skeletons) and AMASS `.npz`. Poses are axis-angle in SMPL's joint order, radians; the
world is y up; metres.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, NUM_BETAS
from trainer.command import start
from trainer.motion.amass import read_amass
from trainer.motion.asf_amc import METRES_PER_UNIT, read_amc, read_asf
from trainer.motion.bvh import joint_names, read_bvh
from trainer.motion.poses import SPLITS
from trainer.motion.retarget import ASF, DAZ, MOTIONBUILDER, retarget

CMU_FPS = 120.0
"""The rate of CMU's original AMC files, which do not state it."""
_DAZ_METRES_PER_UNIT = 0.01
_T_POSE_RAD = 0.65  # all T-poses of CMU lie below 0.55 (their elbows are turned), all other BVH frames above 0.8
_LARGEST_ANGLE_RAD = {
    "head": 1.6,
    "left_ankle": 1.6,
    "right_ankle": 1.6,
    "left_wrist": 1.9,
    "right_wrist": 1.9,
}
_OVEREXTENSION_RAD = 0.35
_BACKWARDS = {
    "left_elbow": (0, 1, 0),
    "right_elbow": (0, -1, 0),
    "left_knee": (-1, 0, 0),
    "right_knee": (-1, 0, 0),
}
"""Axis about which each hinge would have to turn to bend the wrong way."""
_SWAPPED = {"left": "right", "right": "left"}
MIRRORED_JOINTS: tuple[int, ...] = tuple(
    JOINT_NAMES.index("_".join(_SWAPPED.get(word, word) for word in name.split("_")))
    for name in JOINT_NAMES
)
"""Which joint takes each one's place in a mirror."""


@dataclass(frozen=True)
class Motion:
    """One clip as SMPL parameters."""

    rotvec: Float[np.ndarray, "T 24 3"]
    """Axis-angle; row 0 turns the body frame into a world that is y up."""
    transl: Float[np.ndarray, "T 3"]
    """SMPL's `transl`, metres, for the body it was loaded for (AMASS: for the body of that
    file).
    """
    fps: float
    name: str
    subject: str


def load_clip(
    path: str | Path, fps: float | None = None, rest: Float[np.ndarray, "24 3"] | None = None
) -> Motion:
    """Reads one clip; which format it is follows from the name and the joints inside.

    Args:
        path: `.amc`, `.bvh` or AMASS `.npz`.
        fps: frame rate, where it is not the one that the file states (AMC files state none:
            `CMU_FPS`).
        rest: rest joints of the body, body frame, metres; those of the default body where None.

    Raises:
        PenumbraError: the file is missing, broken or of an unknown kind.
    """
    path = Path(path)
    if not path.is_file():
        raise PenumbraError(f"there is no motion capture file '{path}'")
    if path.suffix == ".npz":
        rotvec, transl, rate = read_amass(path, fps)
        return Motion(rotvec, transl, rate, path.stem, path.parent.name)
    rest = rest_joints() if rest is None else rest
    if path.suffix == ".amc":
        recording, mapping = read_amc(path, read_asf(_asf_beside(path)), fps or CMU_FPS), ASF
    elif path.suffix == ".bvh":
        names = joint_names(path)
        if "LHipJoint" in names:
            recording, mapping = read_bvh(path, METRES_PER_UNIT), MOTIONBUILDER
        elif "abdomen" in names:
            recording, mapping = read_bvh(path, _DAZ_METRES_PER_UNIT), DAZ
        else:
            raise PenumbraError(
                f"'{path}' has neither CMU's MotionBuilder nor its Daz skeleton; only these BVH files are known"
            )
    else:
        raise PenumbraError(f"'{path}' is not .amc, .bvh or .npz; convert the clip to one of these")
    rotvec, transl = retarget(recording, mapping, rest)
    if path.suffix == ".bvh" and _is_t_pose(rotvec[0]):
        rotvec, transl = (
            rotvec[1:],
            transl[1:],
        )  # put there for the tools that import BVH; the actor never stood so
    return Motion(
        rotvec, transl, fps or round(recording.fps, 3), path.stem, path.stem.split("_")[0]
    )


@cache
def rest_joints(body: Path | None = None) -> Float[np.ndarray, "24 3"]:
    """Joints of a body, the default one when None, in its T-pose, metres; read once, because the
    file is large.
    """
    joints = BodyModel.load(body).rest_joints(np.zeros(NUM_BETAS)).astype(np.float64)
    joints.flags.writeable = False
    return joints


def mirror_pose(rotvec: Float[np.ndarray, "*B 24 3"]) -> Float[np.ndarray, "*B 24 3"]:
    """The pose of the mirror image in the plane x = 0 of the body and of the world: left and right
    change places.
    """
    return rotvec[..., list(MIRRORED_JOINTS), :] * np.array([1, -1, -1], rotvec.dtype)


def plausible(rotvec: Float[np.ndarray, "*B 24 3"]) -> Bool[np.ndarray, "*B"]:
    """False for poses that no body takes. The recordings contain some: a foot or head turned round,
    elbows bent backwards.
    """
    ok = np.ones(rotvec.shape[:-2], bool)
    for name, limit in _LARGEST_ANGLE_RAD.items():
        ok &= np.linalg.norm(rotvec[..., JOINT_NAMES.index(name), :], axis=-1) < limit
    for name, backwards in _BACKWARDS.items():
        ok &= rotvec[..., JOINT_NAMES.index(name), :] @ np.array(backwards) < _OVEREXTENSION_RAD
    return ok


def _asf_beside(path: Path) -> Path:
    """CMU names a clip SUBJECT_NUMBER.amc and its skeleton SUBJECT.asf."""
    asf = path.with_name(path.stem.split("_")[0] + ".asf")
    if not asf.is_file():
        raise PenumbraError(f"'{path}' needs its skeleton '{asf.name}' in the same folder")
    return asf


def _is_t_pose(rotvec: Float[np.ndarray, "24 3"]) -> bool:
    limbs = [
        JOINT_NAMES.index(f"{side}_{part}")
        for side in _SWAPPED
        for part in ("hip", "knee", "shoulder", "elbow")
    ]
    return bool((np.linalg.norm(rotvec[limbs], axis=-1) < _T_POSE_RAD).all())


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
    skeleton declares.
    """


def main(config: MocapConfig) -> None:
    """Writes the poses, N frames in the order of the C clips; frames that are not `plausible` are
    left out.

    `rotvec` (N,24,3) and `transl` (N,3) float32, `clip` (N,) index into the per-clip arrays,
    `frame` (N,) index within the clip, `split` (N,) uint8 index into `splits`, `clip_names`,
    `clip_subjects`, `clip_fps` (C,).
    """
    table = config.root / "clips.csv"
    if not table.is_file():
        raise PenumbraError(f"--root {config.root} has no clips.csv")
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] not in config.skip]
    rest = rest_joints(config.body)
    motions = [
        load_clip(config.root / row["file"], float(row["fps"]), rest)
        for row in tqdm(rows, unit="clip")
    ]
    lengths = [len(motion.rotvec) for motion in motions]
    rotvec = np.concatenate([motion.rotvec for motion in motions])
    keep = plausible(rotvec)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        config.out,
        rotvec=rotvec[keep].astype(np.float32),
        transl=np.concatenate([motion.transl for motion in motions])[keep].astype(np.float32),
        clip=np.repeat(np.arange(len(rows), dtype=np.int32), lengths)[keep],
        frame=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])[keep],
        split=np.repeat(np.array([SPLITS.index(row["split"]) for row in rows], np.uint8), lengths)[
            keep
        ],
        splits=np.array(SPLITS),
        clip_names=np.array([row["clip"] for row in rows]),
        clip_subjects=np.array([row["subject"] for row in rows]),
        clip_fps=np.array([motion.fps for motion in motions]),
    )
    print(
        f"{config.out}: {keep.sum()} poses of {len(rows)} clips, {(~keep).sum()} implausible frames left out"
    )


if __name__ == "__main__":
    start(main, MocapConfig)
