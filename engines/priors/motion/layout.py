"""What a state of motion, a step of a body and its contacts consist of, and in what order.

Two bodies, a frame apart, make a state. All of it is expressed in the pelvis' axes: turning a
person about the vertical changes nothing. (A frame that only follows the heading is undefined for
who lies on a side, as in a cartwheel.) The world is z up, the floor at z = 0, metres.
"""

from itertools import accumulate

from engines.types import JOINT_NAMES

FPS = 30.0
"""Frames per second of the motion that the prior was trained on; others must be resampled."""
BODY = 22
"""Joints of the state: all but the hands."""
TURNING: tuple[int, ...] = tuple(
    j for j in range(1, BODY) if not JOINT_NAMES[j].endswith("_collar")
)
"""The 19 joints below the root whose rotations the recordings measure; collars stay at rest."""
CONTACTS: tuple[int, ...] = tuple(
    JOINT_NAMES.index(f"{side}_{part}") for part in ("ankle", "foot") for side in ("left", "right")
)
"""The joints that may stand on the floor: heels, below the ankles, and balls of the feet."""

STATE: dict[str, int] = {
    "height": 1,
    "up": 3,
    "root_velocity": 3,
    "root_rate": 3,
    "rotations": 6 * len(TURNING),
    "rates": 3 * len(TURNING),
    "joints": 3 * (BODY - 1),
    "joint_velocities": 3 * (BODY - 1),
    "joint_heights": BODY - 1,
}
"""Length of each part of a state, in their order.

height             of the pelvis above the floor, metres
up                 unit vector against gravity, pelvis axes
root_velocity      of the pelvis, pelvis axes, metres per second
root_rate          log(R_before^T R) of the root per second
rotations          the first two columns of each turning joint's matrix, one after the other
rates              log(R_before^T R) of each turning joint per second
joints             relative to the pelvis, pelvis axes, metres
joint_velocities   in the world, pelvis axes, metres per second
joint_heights      above the floor, metres
"""
NUM_STATE = sum(STATE.values())
STARTS: dict[str, int] = dict(zip(STATE, accumulate((0, *list(STATE.values())[:-1])), strict=True))
"""Where each part of a state begins."""

STEP = 3 + 3 * (1 + len(TURNING))
"""Numbers of a step: the pelvis' displacement in its own axes before the step, metres; then
log(R_before^T R) of the root and of each turning joint, radians."""


def part(name: str) -> slice:
    """Where a part of a state is."""
    return slice(STARTS[name], STARTS[name] + STATE[name])
