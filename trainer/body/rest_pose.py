"""Anny's rest pose to the T-pose."""

import numpy as np
from jaxtyping import Float

from engines.rotations import exp_so3
from engines.types import NUM_JOINTS, PARENTS

# fmt: off
REST_DIRECTIONS: tuple[tuple[int, int, tuple[float, float, float]], ...] = (
    (16, 18, (1, 0, 0)), (18, 20, (1, 0, 0)), (20, 22, (1, 0, 0)),
    (17, 19, (-1, 0, 0)), (19, 21, (-1, 0, 0)), (21, 23, (-1, 0, 0)),
    (1, 4, (0.03, -1, 0)), (4, 7, (0, -1, -0.06)), (2, 5, (-0.03, -1, 0)), (5, 8, (0, -1, -0.06)),
)
"""(joint, its child, direction of that bone in the T-pose). Arms level, legs near vertical with the
shins a little backwards, as a standing person holds them. Parents come before children."""
# fmt: on

# A raised arm takes the collar bone with it: a third of the arm's rise of about 45 degrees.
COLLAR_RISE_RAD = np.deg2rad(15.0)


def to_t_pose(
    vertices: Float[np.ndarray, "N V 3"],
    joints: Float[np.ndarray, "N 24 3"],
    weights: Float[np.ndarray, "V 24"],
) -> tuple[Float[np.ndarray, "N V 3"], Float[np.ndarray, "N 24 3"]]:
    """Skin every body into the T-pose, its pelvis at the origin."""
    rotations = _rest_rotations(joints)
    turned = np.zeros_like(joints)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        bone = joints[:, joint] - joints[:, parent]
        turned[:, joint] = turned[:, parent] + np.einsum("nij,nj->ni", rotations[:, parent], bone)
    return skinned(vertices, weights, rotations, joints, turned), turned


def skinned(
    vertices: Float[np.ndarray, "N V 3"],
    weights: Float[np.ndarray, "V 24"],
    linear: Float[np.ndarray, "N 24 3 3"],
    joints: Float[np.ndarray, "N 24 3"],
    moved: Float[np.ndarray, "N 24 3"],
) -> Float[np.ndarray, "N V 3"]:
    """Blend linearly what each joint does: it maps the body by `linear` and itself to `moved`."""
    offsets = moved - np.einsum("nkij,nkj->nki", linear, joints)
    transforms = np.concatenate([linear, offsets[..., None]], axis=-1)
    transforms = transforms.reshape(len(joints), NUM_JOINTS, 12).astype(vertices.dtype)
    result = np.empty_like(vertices)
    weights = weights.astype(vertices.dtype)
    for n, transform in enumerate(transforms):
        blended = (weights @ transform).reshape(-1, 3, 4)
        result[n] = np.einsum("vij,vj->vi", blended[..., :3], vertices[n]) + blended[..., 3]
    return result


def _rest_rotations(joints: Float[np.ndarray, "N 24 3"]) -> Float[np.ndarray, "N 24 3 3"]:
    """World rotation of each joint that takes Anny's rest pose to the T-pose.

    A bone is turned by the smallest rotation that points it where it should go, after its parents
    have been turned.
    """
    rotations = np.tile(np.eye(3, dtype=joints.dtype), (*joints.shape[:2], 1, 1))
    rise = exp_so3(np.array([[0, 0, COLLAR_RISE_RAD], [0, 0, -COLLAR_RISE_RAD]], joints.dtype))
    rotations[:, 13], rotations[:, 14] = rise
    for joint, child, direction in REST_DIRECTIONS:
        # Feet keep their own orientation on the floor, so nothing is handed on from the shin.
        inherited = rotations[:, PARENTS[joint]]
        bone = np.einsum("nij,nj->ni", inherited, joints[:, child] - joints[:, joint])
        rotations[:, joint] = (
            _smallest_rotation(bone, np.asarray(direction, joints.dtype)) @ inherited
        )
    for wrist, hand in ((20, 22), (21, 23)):
        rotations[:, hand] = rotations[:, wrist]
    return rotations


def _smallest_rotation(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "N 3 3"]:
    """Rotate each `source` about the common normal to the direction of `target`."""
    a = source / np.linalg.norm(source, axis=-1, keepdims=True)
    b = np.broadcast_to(target / np.linalg.norm(target), a.shape)
    normal = np.cross(a, b)
    sine = np.linalg.norm(normal, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.einsum("ni,ni->n", a, b)[:, None])
    return exp_so3(normal / np.maximum(sine, 1e-12) * angle)
