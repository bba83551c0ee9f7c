"""Where BlazePose's 33 landmarks lie on the body: a joint, and an offset that turns with a bone.

The twelve limb landmarks lie on joints, up to what each annotator takes a hip to be; face, fingers,
heels and toes were measured on the default body's mesh. Offsets are metres in the T-pose, x to the
body's left, y up, z forward.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from engines.types import JOINT_NAMES, NUM_LANDMARKS


class Site(NamedTuple):
    """One landmark."""

    joint: str
    bone: str
    """The joint whose rotation turns the offset."""
    offset_m: tuple[float, float, float]
    kind: str
    """face, shoulder, elbow, wrist, hand, hip, knee, ankle or foot."""


_SIDES = ("left", "right")
_NOSE = (0.0, 0.003, 0.121)
_FACE = {
    "eye_inner": (0.014, 0.042, 0.095),
    "eye": (0.030, 0.043, 0.094),
    "eye_outer": (0.045, 0.042, 0.088),
    "ear": (0.080, 0.037, -0.011),
    "mouth": (0.022, -0.031, 0.101),
}
_HAND = {
    "pinky": (0.100, -0.012, -0.037),
    "index": (0.112, -0.010, 0.022),
    "thumb": (0.070, -0.035, 0.055),
}
_FOOT = {"heel": (0.0, -0.040, -0.055), "toe": (-0.025, -0.060, 0.195)}
_TURNS_WITH = {
    "shoulder": "spine3",
    "elbow": "{}_shoulder",
    "wrist": "{}_elbow",
    "hip": "pelvis",
    "knee": "{}_hip",
    "ankle": "{}_knee",
}
"""The bone that a limb landmark's misplacement turns with: the one above the joint."""


def _sites() -> list[Site]:
    """List the landmarks in BlazePose's order."""
    eyes = [_face(side, name) for side in _SIDES for name in ("eye_inner", "eye", "eye_outer")]
    rest = [_face(side, name) for name in ("ear", "mouth") for side in _SIDES]
    arms = [_limb(side, name) for name in ("shoulder", "elbow", "wrist") for side in _SIDES]
    hands = [_end(side, "wrist", offset, "hand") for offset in _HAND.values() for side in _SIDES]
    legs = [_limb(side, name) for name in ("hip", "knee", "ankle") for side in _SIDES]
    feet = [_end(side, "ankle", offset, "foot") for offset in _FOOT.values() for side in _SIDES]
    return [Site("head", "head", _NOSE, "face"), *eyes, *rest, *arms, *hands, *legs, *feet]


def _face(side: str, name: str) -> Site:
    return Site("head", "head", _on(side, _FACE[name]), "face")


def _limb(side: str, name: str) -> Site:
    return Site(f"{side}_{name}", _TURNS_WITH[name].format(side), (0.0, 0.0, 0.0), name)


def _end(side: str, joint: str, offset: tuple[float, float, float], kind: str) -> Site:
    return Site(f"{side}_{joint}", f"{side}_{joint}", _on(side, offset), kind)


def _on(side: str, offset: tuple[float, float, float]) -> tuple[float, float, float]:
    return (offset[0] if side == "left" else -offset[0], *offset[1:])


SITES = _sites()
JOINT: Int[np.ndarray, "33"] = np.array([JOINT_NAMES.index(site.joint) for site in SITES])
BONE: Int[np.ndarray, "33"] = np.array([JOINT_NAMES.index(site.bone) for site in SITES])
OFFSET_M: Float[np.ndarray, "33 3"] = np.array([site.offset_m for site in SITES])
KIND: tuple[str, ...] = tuple(site.kind for site in SITES)
assert len(SITES) == NUM_LANDMARKS
