"""The body: SMPL's equations in NumPy, in three frozen stages, each the input of the next.

    model = BodyModel.load()                 # template, shape directions, joints, skinning weights
    shaped = model.shaped(betas)             # one person: rest vertices and rest joints
    posed = shaped.posed(rotvec, transl)     # that person in a pose: joints and bone transforms
    points = posed.vertices("decimated")     # the vertices of the "full" or the "decimated" mesh

    joints = joints_only(model, rotvec, betas, transl)   # the short way where no mesh is needed

All stages are batched over leading dimensions ("*B"), which broadcast against each other. Metres
and radians. The body frame is SMPL's: y up, x to the body's left, z forward. `rotvec[..., 0, :]` is
SMPL's `global_orient`, which turns the body about its root joint and takes it to the frame of the
caller (here called the camera's); `transl` is then added, so that the root joint is at
`J_0(betas) + transl`. The default body and official SMPL, converted once by
`python -m engines.convert_smpl`, go through the same code.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from engines.body_file import NUM_POSE_FEATURES, body_name, read_body_file
from engines.decimation import Decimation
from engines.rotations import exp_so3
from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS

DEFAULT_BODY = Path(__file__).parent / "assets" / "body.npz"
MeshName = Literal["full", "decimated"]


def _levels() -> tuple[tuple[list[int], list[int]], ...]:
    """Joints below the root, those of the same depth together, and their parents."""
    depth = [0] * NUM_JOINTS
    for joint, parent in enumerate(PARENTS[1:], start=1):
        depth[joint] = depth[parent] + 1
    joints = [[j for j in range(NUM_JOINTS) if depth[j] == d] for d in range(1, max(depth) + 1)]
    return tuple((level, [PARENTS[joint] for joint in level]) for level in joints)


_LEVELS = _levels()
_ABOVE = np.maximum(PARENTS, 0)
"""The parent of each joint; the root's own number for the root."""
_MANY = 100
"""Bodies from which on long rows pay off."""


@dataclass(frozen=True)
class BodyMesh:
    """A mesh at rest: everything that is given per vertex."""

    v_template: Float[np.ndarray, "V 3"]
    """T-pose, mean shape, body frame, metres."""
    shapedirs: Float[np.ndarray, "V 3 10"]
    """Metres per unit of each beta."""
    posedirs: Float[np.ndarray, "V 3 207"] | None
    """Metres per unit of (R - I) of the 23 joints below the root; None for a body without them."""
    weights: Float[np.ndarray, "V 24"]
    """Skinning weights, rows sum to one."""
    faces: Int[np.ndarray, "F 3"]

    def sampled_at(self, decimation: Decimation) -> "BodyMesh":
        """The decimated mesh of the same surface."""
        posedirs = self.posedirs
        return BodyMesh(
            v_template=decimation.interpolate(self.v_template),
            shapedirs=decimation.interpolate(self.shapedirs),
            posedirs=None if posedirs is None else decimation.interpolate(posedirs),
            weights=decimation.interpolate(self.weights),
            faces=decimation.faces,
        )


@dataclass(frozen=True)
class BodyModel:
    """A body of unknown shape and pose."""

    name: str
    """Which body it is; weights that were trained for one body do not fit another."""
    J_template: Float[np.ndarray, "24 3"]
    """Joints of the mean shape in the T-pose, body frame, metres."""
    J_shapedirs: Float[np.ndarray, "24 3 10"]
    """Metres per unit of each beta. With `J_template` it makes joints without touching a vertex."""
    full: BodyMesh
    decimated: BodyMesh
    """A coarser mesh of the same surface."""

    @staticmethod
    def load(path: str | Path | None = None) -> "BodyModel":
        """Read a body file (`engines.body_file`); the default body when `path` is None.

        Raises:
            PenumbraError: the file is missing or is not such a body.
        """
        path = Path(path) if path is not None else DEFAULT_BODY
        return body_from_arrays(read_body_file(path), path)

    def mesh(self, name: MeshName) -> BodyMesh:
        """The mesh of that name."""
        assert name in ("full", "decimated"), name
        return self.full if name == "full" else self.decimated

    def rest_joints(self, betas: Float[np.ndarray, "*B 10"]) -> Float[np.ndarray, "*B 24 3"]:
        """J(betas) = J_template + J_shapedirs betas, body frame, metres."""
        betas = np.asarray(betas, np.float32)
        flat = betas @ self.J_shapedirs.reshape(-1, NUM_BETAS).T
        return self.J_template + flat.reshape(*betas.shape[:-1], NUM_JOINTS, 3)

    def shaped(self, betas: Float[np.ndarray, "*B 10"]) -> "ShapedBody":
        """Give the body a shape."""
        betas = np.asarray(betas, np.float32)
        assert betas.shape[-1] == NUM_BETAS, f"betas {betas.shape}"
        return ShapedBody(self, betas, self.rest_joints(betas))


@dataclass(frozen=True)
class ShapedBody:
    """A person in the T-pose."""

    model: BodyModel
    betas: Float[np.ndarray, "*B 10"]
    rest_joints: Float[np.ndarray, "*B 24 3"]
    """Body frame, metres."""

    def rest_vertices(self, mesh: MeshName = "full") -> Float[np.ndarray, "*B V 3"]:
        """Vertices in the T-pose, body frame, metres."""
        at_rest = self.model.mesh(mesh)
        flat = self.betas @ at_rest.shapedirs.reshape(-1, NUM_BETAS).T
        return at_rest.v_template + flat.reshape(*self.betas.shape[:-1], -1, 3)

    def posed(
        self, rotvec: Float[np.ndarray, "*#B 24 3"], transl: Float[np.ndarray, "*#B 3"]
    ) -> "PosedBody":
        """Put the person in a pose."""
        rotvec = np.asarray(rotvec, np.float32)
        assert rotvec.shape[-2:] == (NUM_JOINTS, 3), f"rotvec {rotvec.shape}"
        rotations = exp_so3(rotvec)
        world, joints = forward_kinematics(
            rotations, self.rest_joints, np.asarray(transl, np.float32)
        )
        T_cam_bone = np.zeros((*joints.shape[:-1], 4, 4), np.float32)
        T_cam_bone[..., :3, :3] = world
        T_cam_bone[..., :3, 3] = joints
        T_cam_bone[..., 3, 3] = 1
        return PosedBody(self, rotations, T_cam_bone)


@dataclass(frozen=True)
class PosedBody:
    """A person in a pose, in the frame of the caller."""

    shaped: ShapedBody
    rotations: Float[np.ndarray, "*B 24 3 3"]
    """Rotation of each joint relative to its parent, of the root relative to the caller's frame."""
    T_cam_bone: Float[np.ndarray, "*B 24 4 4"]
    """From each bone's frame to the caller's.

    A bone's frame has its origin at its joint and, in the T-pose, the axes of the body frame.
    """

    @property
    def joints(self) -> Float[np.ndarray, "*B 24 3"]:
        """Metres, the caller's frame."""
        return self.T_cam_bone[..., :3, 3]

    @cached_property
    def _pose_features(self) -> Float[np.ndarray, "*B 207"]:
        """R - I of the 23 joints below the root, row by row: pose blend shapes are linear in it."""
        offset = self.rotations[..., 1:, :, :] - np.eye(3, dtype=np.float32)
        return offset.reshape(*offset.shape[:-3], NUM_POSE_FEATURES)

    def vertices(self, mesh: MeshName = "full") -> Float[np.ndarray, "*B V 3"]:
        """Linear blend skinning: v = sum_j w_j (R_j (v_rest - J_j) + p_j).

        Returns:
            Metres, the caller's frame.
        """
        at_rest = self.shaped.model.mesh(mesh)
        rest = self.shaped.rest_vertices(mesh)
        if at_rest.posedirs is not None:
            correction = self._pose_features @ at_rest.posedirs.reshape(-1, NUM_POSE_FEATURES).T
            rest = rest + correction.reshape(*correction.shape[:-1], -1, 3)
        R, p = self.T_cam_bone[..., :3, :3], self.T_cam_bone[..., :3, 3]
        offset = p - np.einsum("...ij,...j->...i", R, self.shaped.rest_joints)
        transforms = np.concatenate([R, offset[..., None]], axis=-1)  # (*B, 24, 3, 4)
        batch = transforms.shape[:-3]
        blended = at_rest.weights @ transforms.reshape(*batch, NUM_JOINTS, 12)
        blended = blended.reshape(*batch, -1, 3, 4)
        turned = np.einsum("...vij,...vj->...vi", blended[..., :3], rest, optimize=False)
        return turned + blended[..., 3]


def joints_only(
    model: BodyModel,
    rotvec: Float[np.ndarray, "*#B 24 3"],
    betas: Float[np.ndarray, "*#B 10"],
    transl: Float[np.ndarray, "*#B 3"],
) -> Float[np.ndarray, "*B 24 3"]:
    """The joints of posed bodies, without their meshes; equal to `PosedBody.joints`.

    Returns:
        Metres, the caller's frame.
    """
    rotations = exp_so3(np.asarray(rotvec, np.float32))
    rest = model.rest_joints(betas)
    _, joints = forward_kinematics(rotations, rest, np.asarray(transl, np.float32))
    return joints


def forward_kinematics(
    rotations: Float[np.ndarray, "*#B 24 3 3"],
    rest: Float[np.ndarray, "*#B 24 3"],
    transl: Float[np.ndarray, "*#B 3"],
) -> tuple[Float[np.ndarray, "*B 24 3 3"], Float[np.ndarray, "*B 24 3"]]:
    """World rotation and position of every joint.

    R_j = R_parent R_j_local and p_j = p_parent + R_parent bone_j, from the root outwards.
    """
    batch = np.broadcast_shapes(rotations.shape[:-3], rest.shape[:-2], transl.shape[:-1])
    many = int(np.prod(batch, dtype=np.int64)) >= _MANY
    return (_pose_many if many else _pose_few)(rotations, rest, transl, batch)


def _pose_few(
    rotations: Float[np.ndarray, "*#B 24 3 3"],
    rest: Float[np.ndarray, "*#B 24 3"],
    transl: Float[np.ndarray, "*#B 3"],
    batch: tuple[int, ...],
) -> tuple[Float[np.ndarray, "*B 24 3 3"], Float[np.ndarray, "*B 24 3"]]:
    """Compute it with a product of 3x4 matrices for each joint."""
    local = np.empty((*batch, NUM_JOINTS, 3, 4), rotations.dtype)
    local[..., :3] = rotations
    local[..., 3] = rest - rest[..., _ABOVE, :]
    local[..., 0, :, 3] = rest[..., 0, :] + transl
    for level, above in _LEVELS:
        parent = local[..., above, :, :]
        moved = parent[..., :3] @ local[..., level, :, :]
        moved[..., 3] += parent[..., 3]
        local[..., level, :, :] = moved
    return local[..., :3].copy(), local[..., 3].copy()


def _pose_many(
    rotations: Float[np.ndarray, "*#B 24 3 3"],
    rest: Float[np.ndarray, "*#B 24 3"],
    transl: Float[np.ndarray, "*#B 3"],
    batch: tuple[int, ...],
) -> tuple[Float[np.ndarray, "*B 24 3 3"], Float[np.ndarray, "*B 24 3"]]:
    """Compute the same for many bodies: NumPy multiplies long rows far faster than matrices."""
    local = np.ascontiguousarray(_batch_last(rotations, batch, 3))  # (24, 3, 3, K)
    rest = _batch_last(rest, batch, 2)  # (24, 3, K)
    bones = rest - rest[_ABOVE]
    world, joints = np.empty_like(local), np.empty_like(local[:, 0])
    world[0] = local[0]
    joints[0] = rest[0] + _batch_last(transl, batch, 1)
    for level, above in _LEVELS:
        R_above = world[above]  # (n, 3, 3, K)
        joints[level] = joints[above] + (R_above * bones[level, None]).sum(2)
        world[level] = (R_above[:, :, :, None] * local[level, None]).sum(2)
    world, joints = np.moveaxis(world, -1, 0), np.moveaxis(joints, -1, 0)
    return world.reshape(*batch, NUM_JOINTS, 3, 3), joints.reshape(*batch, NUM_JOINTS, 3)


def _batch_last(array: np.ndarray, batch: tuple[int, ...], item_dims: int) -> np.ndarray:
    """Broadcast the leading dimensions to `batch`, flatten them and put them last."""
    item = array.shape[array.ndim - item_dims :]
    count = int(np.prod(batch, dtype=np.int64))
    return np.moveaxis(np.broadcast_to(array, (*batch, *item)).reshape(count, *item), 0, -1)


def body_from_arrays(arrays: dict[str, np.ndarray], path: Path) -> BodyModel:
    """A body from the checked arrays of a body file; `path` is for error messages."""
    posedirs = np.asarray(arrays["posedirs"])
    full = BodyMesh(
        v_template=arrays["v_template"].astype(np.float32),
        shapedirs=arrays["shapedirs"][..., :NUM_BETAS].astype(np.float32),
        posedirs=posedirs.astype(np.float32) if posedirs.any() else None,
        weights=arrays["weights"].astype(np.float32),
        faces=arrays["f"].astype(np.int32),
    )
    decimation = Decimation(
        arrays["decimated_vertex_ids"].astype(np.int32),
        arrays["decimated_vertex_weights"].astype(np.float32),
        arrays["decimated_f"].astype(np.int32),
    )
    regressor = arrays["J_regressor"].astype(np.float32)
    return BodyModel(
        name=body_name(arrays, path),
        J_template=regressor @ full.v_template,
        J_shapedirs=np.einsum("jv,vcb->jcb", regressor, full.shapedirs, optimize=True),
        full=full,
        decimated=full.sampled_at(decimation),
    )
