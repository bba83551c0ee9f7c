"""One motion capture file of any known format as SMPL parameters.

`load_clip` reads `.amc` (with the `.asf` beside it), `.bvh` (CMU's "MotionBuilder-friendly" and
"Daz-friendly" skeletons) and AMASS `.npz`. Poses are axis-angle in SMPL's joint order, radians; the
world is y up; lengths are metres.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, NUM_BETAS
from trainer.motion.amass import read_amass
from trainer.motion.anatomy import SIDES
from trainer.motion.asf_amc import METRES_PER_UNIT, read_amc, read_asf
from trainer.motion.bvh import joint_names, read_bvh
from trainer.motion.recording import Recording
from trainer.motion.retarget import ASF, DAZ, MOTIONBUILDER, Mapping, retarget

CMU_FPS = 120.0
"""The rate of CMU's original AMC files, which do not state it."""
_DAZ_METRES_PER_UNIT = 0.01
_T_POSE_RAD = 0.65
"""All T-poses of CMU lie below 0.55 (their elbows are turned), all other BVH frames above 0.8."""


@dataclass(frozen=True)
class Motion:
    """One clip as SMPL parameters."""

    rotvec: Float[np.ndarray, "T 24 3"]
    """Axis-angle; row 0 turns the body frame into a world that is y up."""
    transl: Float[np.ndarray, "T 3"]
    """SMPL's `transl`, metres, for the body that the clip was loaded for (AMASS: for the body of
    that file)."""
    fps: float
    name: str
    subject: str


def load_clip(
    path: str | Path, fps: float | None = None, rest: Float[np.ndarray, "24 3"] | None = None
) -> Motion:
    """Read one clip; which format it is follows from the name and the joints inside.

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
        raise PenumbraError(f"{path}: there is no such motion capture file; check the path.")
    if path.suffix == ".npz":
        rotvec, transl, rate = read_amass(path, fps)
        return Motion(rotvec, transl, rate, path.stem, path.parent.name)
    recording, mapping = _read_recording(path, fps)
    rotvec, transl = retarget(recording, mapping, rest_joints() if rest is None else rest)
    if path.suffix == ".bvh" and _is_t_pose(rotvec[0]):
        # It was put there for the tools that import BVH; the actor never stood so.
        rotvec = rotvec[1:]
        transl = transl[1:]
    rate = fps or round(recording.fps, 3)
    return Motion(rotvec, transl, rate, path.stem, path.stem.split("_")[0])


@cache
def rest_joints(body: Path | None = None) -> Float[np.ndarray, "24 3"]:
    """Read the joints (m) of a body in its T-pose once; of the default body when None."""
    joints = BodyModel.load(body).rest_joints(np.zeros(NUM_BETAS)).astype(np.float64)
    joints.flags.writeable = False
    return joints


def _read_recording(path: Path, fps: float | None) -> tuple[Recording, Mapping]:
    """Read an `.amc` or `.bvh` file, and choose the mapping of its skeleton to SMPL's."""
    if path.suffix == ".amc":
        return read_amc(path, read_asf(_skeleton_file(path)), fps or CMU_FPS), ASF
    if path.suffix != ".bvh":
        raise PenumbraError(f"{path}: not .amc, .bvh or .npz; convert the clip to one of these.")
    names = joint_names(path)
    if "LHipJoint" in names:
        return read_bvh(path, METRES_PER_UNIT), MOTIONBUILDER
    if "abdomen" in names:
        return read_bvh(path, _DAZ_METRES_PER_UNIT), DAZ
    raise PenumbraError(
        f"{path}: has neither CMU's MotionBuilder nor its Daz skeleton; convert the clip to one of"
        " these."
    )


def _skeleton_file(path: Path) -> Path:
    """Find the skeleton of a clip: CMU names them SUBJECT.asf and SUBJECT_NUMBER.amc."""
    asf = path.with_name(path.stem.split("_")[0] + ".asf")
    if not asf.is_file():
        raise PenumbraError(f"{path}: its skeleton is missing; put {asf.name} beside it.")
    return asf


def _is_t_pose(rotvec: Float[np.ndarray, "24 3"]) -> bool:
    limbs = [
        JOINT_NAMES.index(f"{side}_{part}")
        for side in SIDES
        for part in ("hip", "knee", "shoulder", "elbow")
    ]
    return bool((np.linalg.norm(rotvec[limbs], axis=-1) < _T_POSE_RAD).all())
