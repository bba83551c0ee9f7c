"""Where BlazePose's 33 landmarks lie on the body: a joint, and an offset that turns with a bone.

The twelve limb landmarks lie on joints, up to what each annotator thinks a hip is; face, fingers,
heels and toes were measured on the default body's mesh. Offsets are metres in the T-pose, x to the
body's left, y up, z forward.
"""

import numpy as np
from jaxtyping import Float, Int

from engines.types import JOINT_NAMES, NUM_LANDMARKS

_HEAD = {
    "nose": (0.0, 0.003, 0.121),
    "eye_inner": (0.014, 0.042, 0.095),
    "eye": (0.030, 0.043, 0.094),
    "eye_outer": (0.045, 0.042, 0.088),
    "ear": (0.080, 0.037, -0.011),
    "mouth": (0.022, -0.031, 0.101),
}
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_TURNS_WITH = {
    "shoulder": "spine3",
    "elbow": "{}_shoulder",
    "wrist": "{}_elbow",
    "hip": "pelvis",
    "knee": "{}_hip",
    "ankle": "{}_knee",
}
"""The bone that a limb landmark's misplacement turns with: the one above the joint."""
_HAND = {
    "pinky": (0.100, -0.012, -0.037),
    "index": (0.112, -0.010, 0.022),
    "thumb": (0.070, -0.035, 0.055),
}
_FOOT = {"heel": (0.0, -0.040, -0.055), "toe": (-0.025, -0.060, 0.195)}
_SIDES = ("left", "right")


def _rows() -> list[tuple[str, str, tuple[float, float, float], str]]:
    """Joint, bone, offset and kind of each landmark, in BlazePose's order."""
    rows = [("head", "head", _HEAD["nose"], "face")]
    rows += [
        ("head", "head", _on(side, _HEAD[k]), "face")
        for side in _SIDES
        for k in ("eye_inner", "eye", "eye_outer")
    ]
    rows += [
        ("head", "head", _on(side, _HEAD[k]), "face") for k in ("ear", "mouth") for side in _SIDES
    ]
    limbs = [
        (f"{side}_{k}", _TURNS_WITH[k].format(side), (0.0, 0.0, 0.0), k)
        for k in _LIMBS
        for side in _SIDES
    ]
    hands = [
        (f"{s}_wrist", f"{s}_wrist", _on(s, _HAND[k]), "hand")
        for k in ("pinky", "index", "thumb")
        for s in _SIDES
    ]
    feet = [
        (f"{s}_ankle", f"{s}_ankle", _on(s, _FOOT[k]), "foot")
        for k in ("heel", "toe")
        for s in _SIDES
    ]
    return rows + limbs[:6] + hands + limbs[6:] + feet


def _on(side: str, offset: tuple[float, float, float]) -> tuple[float, float, float]:
    return (offset[0] if side == "left" else -offset[0], *offset[1:])


_ROWS = _rows()
JOINT: Int[np.ndarray, "33"] = np.array([JOINT_NAMES.index(row[0]) for row in _ROWS])
BONE: Int[np.ndarray, "33"] = np.array([JOINT_NAMES.index(row[1]) for row in _ROWS])
OFFSET_M: Float[np.ndarray, "33 3"] = np.array([row[2] for row in _ROWS])
KIND: tuple[str, ...] = tuple(row[3] for row in _ROWS)
"""face, shoulder, elbow, wrist, hand, hip, knee, ankle or foot."""
assert len(_ROWS) == NUM_LANDMARKS
