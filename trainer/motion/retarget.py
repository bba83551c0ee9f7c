"""From a recorded skeleton to the pose of SMPL's skeleton.

Each SMPL joint k follows one joint of the recording. If G is the rotation of that joint from its
rest orientation in the world, the SMPL joint's is W_k = G C_k with a constant correction C_k, and
its local rotation is W_parent^T W_k.

- Arms, hands and legs: C_k takes the frame of the SMPL bone (its rest direction, and the axis about
  which it bends) to the same frame of the recorded bone. So bone directions are those of the
  recording in every frame, and elbows and knees bend about SMPL's axes: knees about x, elbows about
  y.
- Feet: the line from ankle to toe base descends `FLAT_FOOT_DEG` in the recordings when a foot is
  flat on the floor, and more in the body. C_k makes a flat foot flat rather than the two lines
  parallel.
- Trunk, neck, head, collars: C_k = I, because their joint centres lie elsewhere in the two
  skeletons while "no rotation" means standing upright in both.
- The forearm turns by half of the hand's pronation, as skin does; the recordings put it all into
  the wrist.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from engines.rotations import exp_so3, interpolate, log_so3, matrix_to_quat_wxyz
from engines.types import JOINT_NAMES, NUM_JOINTS, PARENTS
from trainer.motion.recording import Recording

FLAT_FOOT_DEG = 18.0
"""Descent of the line from ankle to toe base in a flat foot, median over standing frames of the CMU
recordings.
"""

Bone = tuple[str, str | None]
"""A joint of the recording and the descendant where its bone ends; None where it ends at its own
tip.
"""

_X = np.array([1.0, 0.0, 0.0])
_Y = np.array([0.0, 1.0, 0.0])
_CMU_ELBOW_AXIS = np.array([0.0, np.cos(np.pi / 6), -np.sin(np.pi / 6)])
"""CMU's elbows bend about an axis 30 degrees off the vertical of the T-pose (`axis 180 -30 -90` in
every ASF file).
"""
_CHILD = {
    "hip": "knee",
    "knee": "ankle",
    "ankle": "foot",
    "shoulder": "elbow",
    "elbow": "wrist",
    "wrist": "hand",
}


@dataclass(frozen=True)
class Mapping:
    """How the joints of one kind of recorded skeleton serve SMPL's."""

    trunk: dict[str, tuple[str, ...]]
    """SMPL joint -> one recorded joint, or two whose rotation is averaged."""
    limbs: dict[str, Bone]
    """SMPL limb joint -> recorded bone."""
    elbow_axis: Float[np.ndarray, "3"] = field(default_factory=lambda: _CMU_ELBOW_AXIS)


def _limbs(left: dict[str, Bone], mirrored: dict[str, str]) -> dict[str, Bone]:
    """Both sides from the left one; `mirrored` spells out the right-hand name of each joint."""
    both = {f"left_{name}": bone for name, bone in left.items()}
    for name, (joint, child) in left.items():
        both[f"right_{name}"] = (mirrored[joint], None if child is None else mirrored[child])
    return both


def _mirror_names(names: str, old: str, new: str) -> dict[str, str]:
    return {name: new + name.removeprefix(old) for name in names.split()}


ASF = Mapping(
    trunk={
        "pelvis": ("root",), "spine1": ("lowerback",), "spine2": ("upperback",),
        "spine3": ("thorax",),
        "neck": ("lowerneck", "upperneck"), "head": ("head",),
        "left_collar": ("lclavicle",), "right_collar": ("rclavicle",),
        "left_foot": ("ltoes",), "right_foot": ("rtoes",),
    },
    limbs=_limbs(
        {
            "hip": ("lfemur", "ltibia"), "knee": ("ltibia", "lfoot"), "ankle": ("lfoot", "ltoes"),
            "shoulder": ("lhumerus", "lradius"), "elbow": ("lradius", "lwrist"),
            "wrist": ("lhand", "lfingers"),
        },
        _mirror_names("lfemur ltibia lfoot ltoes lhumerus lradius lwrist lhand lfingers", "l", "r"),
    ),
)  # fmt: skip
MOTIONBUILDER = Mapping(
    trunk={
        "pelvis": ("Hips",), "spine1": ("LowerBack",), "spine2": ("Spine",), "spine3": ("Spine1",),
        "neck": ("Neck", "Neck1"), "head": ("Head",),
        "left_collar": ("LeftShoulder",), "right_collar": ("RightShoulder",),
        "left_foot": ("LeftToeBase",), "right_foot": ("RightToeBase",),
    },
    limbs=_limbs(
        {
            "hip": ("LeftUpLeg", "LeftLeg"), "knee": ("LeftLeg", "LeftFoot"),
            "ankle": ("LeftFoot", "LeftToeBase"),
            "shoulder": ("LeftArm", "LeftForeArm"), "elbow": ("LeftForeArm", "LeftHand"),
            "wrist": ("LeftFingerBase", "LeftHandIndex1"),
        },
        _mirror_names(
            "LeftUpLeg LeftLeg LeftFoot LeftToeBase LeftArm LeftForeArm LeftHand LeftFingerBase"
            " LeftHandIndex1",
            "Left", "Right",
        ),
    ),
)  # fmt: skip
DAZ = Mapping(
    trunk={
        "pelvis": ("hip",), "spine1": ("abdomen",), "spine2": ("abdomen", "chest"),
        "spine3": ("chest",), "neck": ("neck",), "head": ("head",),
        "left_collar": ("lCollar",), "right_collar": ("rCollar",),
    },
    limbs=_limbs(
        {
            "hip": ("lThigh", "lShin"), "knee": ("lShin", "lFoot"), "ankle": ("lFoot", None),
            "shoulder": ("lShldr", "lForeArm"), "elbow": ("lForeArm", "lHand"),
            "wrist": ("lHand", "lMid1"),
        },
        _mirror_names("lThigh lShin lFoot lShldr lForeArm lHand lMid1", "l", "r"),
    ),
)  # fmt: skip


def retarget(
    recording: Recording, mapping: Mapping, rest: Float[np.ndarray, "24 3"]
) -> tuple[Float[np.ndarray, "T 24 3"], Float[np.ndarray, "T 3"]]:
    """The recording as SMPL parameters.

    Args:
        recording: the clip.
        mapping: for its kind of skeleton.
        rest: rest joints of the body, body frame, metres.

    Returns:
        Axis-angle poses (row 0 in the recording's y-up world) and SMPL's `transl`, metres, with the
        hips of the body where the recorded hips are.
    """
    source = recording.world_rotations()
    world = np.empty((len(source), NUM_JOINTS, 3, 3))
    for joint, name in enumerate(JOINT_NAMES):
        if name in mapping.trunk:
            turns = [source[:, recording.index(used)] for used in mapping.trunk[name]]
            world[:, joint] = turns[0] if len(turns) == 1 else interpolate(turns[0], turns[1], 0.5)
        elif name in mapping.limbs:
            bone = mapping.limbs[name]
            world[:, joint] = source[:, recording.index(bone[0])] @ _correction(
                recording, mapping, name, rest
            )
        else:  # fingers, and toes where the recording has none, go along with their parent
            world[:, joint] = world[:, PARENTS[joint]]
    _share_pronation(world, rest)

    local = world.copy()
    local[:, 1:] = np.swapaxes(world[:, PARENTS[1:]], -1, -2) @ world[:, 1:]
    positions = recording.world_positions(source)
    hips = [recording.index(mapping.limbs[name][0]) for name in ("left_hip", "right_hip")]
    hip_middle = world[:, 0] @ (rest[1:3].mean(0) - rest[0])
    transl = positions[:, hips].mean(1) - hip_middle - rest[0]
    return log_so3(local), transl


def _correction(
    recording: Recording, mapping: Mapping, name: str, rest: Float[np.ndarray, "24 3"]
) -> Float[np.ndarray, "3 3"]:
    side, part = name.split("_")
    joint = JOINT_NAMES.index(name)
    child = JOINT_NAMES.index(f"{side}_{_CHILD[part]}")
    body_bone = rest[child] - rest[joint]
    source_bone = recording.bone(*mapping.limbs[name])
    if part in ("hip", "knee"):
        return _frame(source_bone, _X) @ _frame(body_bone, _X).T
    if part == "ankle":
        along_floor = np.hypot(body_bone[0], body_bone[2])
        flat = np.array(
            [body_bone[0], -along_floor * np.tan(np.radians(FLAT_FOOT_DEG)), body_bone[2]]
        )
        return _frame(source_bone, _X) @ _frame(flat, _X).T
    bend = _Y if part == "wrist" else mapping.elbow_axis
    return _frame(source_bone, bend) @ _frame(body_bone, _Y).T


def _frame(bone: Float[np.ndarray, "3"], bend: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Right-handed frame: the bone, and the part of `bend` at right angles to it, come first."""
    first = bone / np.linalg.norm(bone)
    second = bend - (bend @ first) * first
    second = second / np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _share_pronation(world: Float[np.ndarray, "T 24 3 3"], rest: Float[np.ndarray, "24 3"]) -> None:
    """Turn the forearms, in place, by half the angle by which the hands are turned about them."""
    for side in ("left", "right"):
        elbow, wrist = JOINT_NAMES.index(f"{side}_elbow"), JOINT_NAMES.index(f"{side}_wrist")
        axis = (rest[wrist] - rest[elbow]) / np.linalg.norm(rest[wrist] - rest[elbow])
        quat = matrix_to_quat_wxyz(np.swapaxes(world[:, elbow], -1, -2) @ world[:, wrist])
        # The twist part of a rotation is its quaternion projected on the axis.
        twist = 2 * np.arctan2(quat[:, 1:] @ axis, quat[:, 0])
        world[:, elbow] = world[:, elbow] @ exp_so3(0.5 * twist[:, None] * axis)
