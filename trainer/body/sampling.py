"""Bodies drawn from the package `anny`, in SMPL's axes and joints, as they stand there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from engines.types import NUM_JOINTS

# fmt: off
RIG_BONES: tuple[str, ...] = (
    "pelvis", "thigh_l", "thigh_r", "spine_01", "calf_l", "calf_r", "spine_02", "foot_l", "foot_r",
    "spine_03", "ball_l", "ball_r", "neck_01", "clavicle_l", "clavicle_r", "head",
    "upperarm_l", "upperarm_r", "lowerarm_l", "lowerarm_r", "hand_l", "hand_r",
    "middle_01_l", "middle_01_r",
)
"""The bone of Anny's `game_engine` rig whose head is each SMPL joint, in SMPL's order."""

INNER_PARTS = (
    "eye_back.L", "eye_back.R", "eye_cavity.L", "eye_cavity.R", "mouth_cavity", "tongue",
)
# fmt: on


@dataclass(frozen=True)
class SampledBodies:
    """N bodies in Anny's rest pose, already in SMPL's axes, metres."""

    vertices: Float[np.ndarray, "N V 3"]
    joints: Float[np.ndarray, "N 24 3"]
    weights: Float[np.ndarray, "V 24"]
    """Skinning weights, all bones merged into the 24 joints."""
    faces: Int[np.ndarray, "F 3"]


def sample_bodies(count: int, ages: tuple[float, float], seed: int) -> SampledBodies:
    """Draw people from Anny's shape distribution and keep only the outer surface of the mesh.

    Args:
        count: how many.
        ages: range of their ages, years.
        seed: of what is drawn.
    """
    import anny
    import torch
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.shape_distribution import SimpleShapeDistribution

    torch.manual_seed(seed)
    model = anny.Anny(rig="game_engine", topology="anny").to(dtype=torch.float32)
    youngest, oldest = (torch.tensor(age) for age in ages)
    uniform = torch.distributions.Uniform(youngest, oldest)
    _, phenotypes = SimpleShapeDistribution(model, morphological_age_distribution=uniform).sample(
        count
    )

    inner = get_face_segmentation_mask(model, INNER_PARTS).numpy()
    used, faces = np.unique(model.faces.numpy()[~inner], return_inverse=True)
    bones = [model.bone_labels.index(name) for name in RIG_BONES]
    identity = torch.eye(4)[None, None]
    vertices = np.empty((count, len(used), 3), np.float32)
    joints = np.empty((count, NUM_JOINTS, 3), np.float32)
    for first in range(0, count, 50):
        part = slice(first, min(first + 50, count))
        out = model(
            pose_parameters=identity.expand(part.stop - part.start, model.bone_count, 4, 4),
            phenotype_kwargs={name: values[part].float() for name, values in phenotypes.items()},
        )
        vertices[part] = _to_smpl_axes(out["rest_vertices"].numpy()[:, used])
        joints[part] = _to_smpl_axes(out["rest_bone_heads"].numpy()[:, bones])
    return SampledBodies(
        vertices,
        joints,
        _merged_weights(model)[used],
        faces.reshape(-1, 3).astype(np.int32),
    )


def _to_smpl_axes(points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Anny: x left, y backwards, z up. SMPL: x left, y up, z forward."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _merged_weights(model: Any) -> Float[np.ndarray, "V 24"]:
    """Merge Anny's skinning weights: each bone counts for its nearest ancestor among the joints."""
    parents = [int(p) for p in model.bone_parents]
    joint_of_bone = np.zeros(model.bone_count, int)  # the root above the pelvis counts as pelvis
    for bone in range(model.bone_count):
        label = model.bone_labels[bone]
        if label in RIG_BONES:
            joint_of_bone[bone] = RIG_BONES.index(label)
        elif parents[bone] >= 0:
            assert parents[bone] < bone, "Anny lists parents before children"
            joint_of_bone[bone] = joint_of_bone[parents[bone]]
    ids, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    weights = np.zeros((len(ids), NUM_JOINTS))
    np.add.at(weights, (np.arange(len(ids))[:, None], joint_of_bone[ids]), values)
    return _quantised(weights / weights.sum(1, keepdims=True))


def _quantised(weights: Float[np.ndarray, "V 24"], steps: int = 1024) -> Float[np.ndarray, "V 24"]:
    """Round to multiples of 1/1024, which float16 holds; rows still sum to exactly one."""
    rounded = np.round(weights * steps)
    largest = rounded.argmax(1)
    rounded[np.arange(len(rounded)), largest] += steps - rounded.sum(1)
    return rounded / steps
