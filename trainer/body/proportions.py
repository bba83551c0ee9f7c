"""Hips and limbs where people have them, and as different from person to person."""

import numpy as np
from jaxtyping import Float

from engines.types import NUM_JOINTS, PARENTS
from trainer.body.rest_pose import REST_DIRECTIONS, skinned

HIP_FORWARD, HIP_UP = 0.0225, 0.0125
"""Where the landmark network sees the hips' centres before and above the rig's, in leg lengths: a
linear fit to its answers to 2,200 renderings. The same fit puts each 23 mm nearer to the middle,
where `anatomical_hips` has 27."""

ARM_LENGTH = 1.08
"""Length of people's arms, shoulder to wrist, relative to the rig's, which is 0.288 of the stature.
De Leva (Adjustments to Zatsiorsky-Seluyanov's segment inertia parameters, J. Biomechanics 29(9),
1996) has 0.316 for men and 0.311 for women, with shoulders that are nearer to each other."""
ARM_SPREAD, LEG_SPREAD, SEGMENT_SPREAD = 0.035, 0.03, 0.02
"""Standard deviations, over people of one stature, of the logs of the length of arms and legs, and
of that of a limb's upper half, its lower one being shorter by as much."""


def anatomical_hips(joints: Float[np.ndarray, "N 24 3"]) -> Float[np.ndarray, "N 24 3"]:
    """Move the hips of bodies in Anny's rest pose to the centres of the joints.

    The rig has its thighs turn about points 22 cm apart in a body of 1.69 m; in people they are 17.
    Half the distance is 8 mm + 0.086 leg length, and the leg reaches 9 mm + 0.078 leg length above
    the hip's centre (Hara, McGinley, Briggs, Baker, Sangeux: Predicting the location of the hip
    joint centres, Scientific Reports 6, 37707, 2016).
    """
    bones = joints[:, (4, 7)] - joints[:, (1, 4)]
    leg = (np.linalg.norm(bones, axis=-1).sum(1) + 0.009) / (1 - 0.078)
    across = joints[:, 1] - joints[:, 2]
    aside = ((0.008 + 0.086 * leg) / np.linalg.norm(across, axis=-1))[:, None] * across
    middle = joints[:, 1:3].mean(1) + leg[:, None] * np.array([0.0, HIP_UP, HIP_FORWARD])
    moved = joints.copy()
    moved[:, 1], moved[:, 2] = middle + aside, middle - aside
    return moved


def with_limb_lengths(
    vertices: Float[np.ndarray, "N V 3"],
    joints: Float[np.ndarray, "N 24 3"],
    weights: Float[np.ndarray, "V 24"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "N V 3"], Float[np.ndarray, "N 24 3"]]:
    """Stretch the limbs of bodies in the T-pose along their bones, as people's vary.

    Relative to the trunk's, the lengths of Anny's limb bones vary by 2.5 to 4 % (one standard
    deviation), and by 4 to 5 % after this. Hands, feet and trunk keep their size, left and right
    are alike.
    """
    count = len(joints)
    arm, leg, upper_arm, thigh = rng.standard_normal((4, count))
    arm, leg = np.log(ARM_LENGTH) + ARM_SPREAD * arm, LEG_SPREAD * leg
    scale = {
        16: arm + SEGMENT_SPREAD * upper_arm,
        18: arm - SEGMENT_SPREAD * upper_arm,
        1: leg + SEGMENT_SPREAD * thigh,
        4: leg - SEGMENT_SPREAD * thigh,
    }
    stretch = np.tile(np.eye(3), (count, NUM_JOINTS, 1, 1))
    for joint, _, direction in REST_DIRECTIONS:
        log_scale = scale.get(joint, scale.get(joint - 1))  # right joints follow left ones
        if log_scale is None:
            continue  # the hand
        along = np.asarray(direction) / np.linalg.norm(direction)
        stretch[:, joint] += np.expm1(log_scale)[:, None, None] * np.outer(along, along)
    moved = joints.astype(np.float64)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        bone = joints[:, joint] - joints[:, parent]
        moved[:, joint] = moved[:, parent] + np.einsum("nij,nj->ni", stretch[:, parent], bone)
    return skinned(vertices, weights, stretch, joints, moved), moved.astype(joints.dtype)
