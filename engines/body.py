"""The body: SMPL's equations in NumPy, in three frozen stages, each the input of the next.

    model = BodyModel.load()                     # template, shape directions, joints, skinning
    weights
    shaped = model.shaped(betas)                 # one person: rest vertices and rest joints
    posed = shaped.posed(rotvec, transl)         # that person in a pose: joints and bone transforms
    points = posed.vertices("live")              # the skin: "full" or "live" mesh

    joints = joints_only(model, rotvec, betas, transl)   # the short way when nobody asks for skin

All stages are batched over leading dimensions ("*B"), which broadcast against each other. Metres
and radians. The body frame is SMPL's: y up, x to the body's left, z forward. `rotvec[..., 0, :]` is
SMPL's `global_orient`, which turns the body about its root joint and takes it to the frame of the
caller (here called the camera's); `transl` is then added, so that the root joint is at `J_0(betas)
+ transl`. The default body and official SMPL, converted once by `python -m engines.convert_smpl`,
go through the same code.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from engines.arrays import read_npz
from engines.decimation import LiveMesh
from engines.errors import PenumbraError
from engines.rotations import exp_so3
from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS

DEFAULT_BODY = Path(__file__).parent / "assets" / "body.npz"
MeshName = Literal["full", "live"]

_NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)


@dataclass(frozen=True)
class Mesh:
    """A skin: everything that is given per vertex."""

    v_template: Float[np.ndarray, "V 3"]
    """T-pose, mean shape, body frame, metres."""
    shapedirs: Float[np.ndarray, "V 3 10"]
    """Metres per unit of each beta."""
    posedirs: Float[np.ndarray, "V 3 207"] | None
    """Metres per unit of (R - I) of the 23 joints below the root; None where the body has no pose
    blend shapes.
    """
    weights: Float[np.ndarray, "V 24"]
    """Skinning weights, rows sum to one."""
    faces: Int[np.ndarray, "F 3"]

    def carried_to(self, live: LiveMesh) -> "Mesh":
        """The same skin sampled at the points of a live mesh."""
        return Mesh(
            v_template=live.carry(self.v_template),
            shapedirs=live.carry(self.shapedirs),
            posedirs=None if self.posedirs is None else live.carry(self.posedirs),
            weights=live.carry(self.weights),
            faces=live.faces,
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
    full: Mesh
    live: Mesh
    """The coarser mesh of the same surface."""

    @staticmethod
    def load(path: str | Path | None = None) -> "BodyModel":
        """Read a body file (`.npz` without pickled objects); the default body when `path` is None.

        Raises:
            PenumbraError: the file is missing or is not such a body.
        """
        path = Path(path) if path is not None else DEFAULT_BODY
        return body_from_arrays(_read_arrays(path), path)

    def mesh(self, name: MeshName) -> Mesh:
        assert name in ("full", "live"), name
        return self.full if name == "full" else self.live

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
        """The skin in the T-pose, body frame, metres."""
        skin = self.model.mesh(mesh)
        flat = self.betas @ skin.shapedirs.reshape(-1, NUM_BETAS).T
        return skin.v_template + flat.reshape(*self.betas.shape[:-1], -1, 3)

    def posed(
        self, rotvec: Float[np.ndarray, "*B 24 3"], transl: Float[np.ndarray, "*B 3"]
    ) -> "PosedBody":
        """Put the person in a pose."""
        rotvec = np.asarray(rotvec, np.float32)
        assert rotvec.shape[-2:] == (NUM_JOINTS, 3), f"rotvec {rotvec.shape}"
        rotations = exp_so3(rotvec)
        world, joints = _forward_kinematics(
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
    """Of each joint relative to its parent; of the root relative to the caller's frame."""
    T_cam_bone: Float[np.ndarray, "*B 24 4 4"]
    """From each bone's frame (origin at its joint, axes of the body frame in the T-pose) to the
    caller's frame.
    """

    @property
    def joints(self) -> Float[np.ndarray, "*B 24 3"]:
        """Metres, the caller's frame."""
        return self.T_cam_bone[..., :3, 3]

    @cached_property
    def _pose_features(self) -> Float[np.ndarray, "*B 207"]:
        """R - I of the 23 joints below the root, flattened row by row: what pose blend shapes are
        linear in.
        """
        offset = self.rotations[..., 1:, :, :] - np.eye(3, dtype=np.float32)
        return offset.reshape(*offset.shape[:-3], _NUM_POSE_FEATURES)

    def vertices(self, mesh: MeshName = "full") -> Float[np.ndarray, "*B V 3"]:
        """Linear blend skinning: v = sum_j w_j (R_j (v_rest - J_j) + p_j), metres, the caller's
        frame.
        """
        skin = self.shaped.model.mesh(mesh)
        rest = self.shaped.rest_vertices(mesh)
        if skin.posedirs is not None:
            correction = self._pose_features @ skin.posedirs.reshape(-1, _NUM_POSE_FEATURES).T
            rest = rest + correction.reshape(*correction.shape[:-1], -1, 3)
        R, p = self.T_cam_bone[..., :3, :3], self.T_cam_bone[..., :3, 3]
        offset = p - np.einsum("...ij,...j->...i", R, self.shaped.rest_joints)
        transforms = np.concatenate([R, offset[..., None]], axis=-1)  # (*B, 24, 3, 4)
        batch = transforms.shape[:-3]
        blended = (skin.weights @ transforms.reshape(*batch, NUM_JOINTS, 12)).reshape(
            *batch, -1, 3, 4
        )
        return (
            np.einsum("...vij,...vj->...vi", blended[..., :3], rest, optimize=False)
            + blended[..., 3]
        )


def joints_only(
    model: BodyModel,
    rotvec: Float[np.ndarray, "*B 24 3"],
    betas: Float[np.ndarray, "*B 10"],
    transl: Float[np.ndarray, "*B 3"],
) -> Float[np.ndarray, "*B 24 3"]:
    """The joints of bodies nobody asks the skin of; equal to `PosedBody.joints`. Metres, the
    caller's frame.
    """
    rotations = exp_so3(np.asarray(rotvec, np.float32))
    return _forward_kinematics(rotations, model.rest_joints(betas), np.asarray(transl, np.float32))[
        1
    ]


def _forward_kinematics(
    rotations: Float[np.ndarray, "*B 24 3 3"],
    rest: Float[np.ndarray, "*B 24 3"],
    transl: Float[np.ndarray, "*B 3"],
) -> tuple[Float[np.ndarray, "*B 24 3 3"], Float[np.ndarray, "*B 24 3"]]:
    """World rotation and position of every joint: R_j = R_parent R_j_local, p_j = p_parent +
    R_parent bone_j.
    """
    batch = np.broadcast_shapes(rotations.shape[:-3], rest.shape[:-2], transl.shape[:-1])
    # The batch goes last: NumPy multiplies long rows far faster than many 3x3 matrices.
    local = np.ascontiguousarray(_batch_last(rotations, batch, 3))  # (24, 3, 3, K)
    rest = _batch_last(rest, batch, 2)  # (24, 3, K)
    world, joints = np.empty_like(local), np.empty_like(local[:, 0])
    world[0] = local[0]
    joints[0] = rest[0] + _batch_last(transl, batch, 1)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        R_parent = world[parent]
        joints[joint] = joints[parent] + (R_parent * (rest[joint] - rest[parent])).sum(1)
        world[joint] = (R_parent[:, :, None] * local[joint]).sum(1)
    world, joints = np.moveaxis(world, -1, 0), np.moveaxis(joints, -1, 0)
    return world.reshape(*batch, NUM_JOINTS, 3, 3), joints.reshape(*batch, NUM_JOINTS, 3)


def _batch_last(array: np.ndarray, batch: tuple[int, ...], item_dims: int) -> np.ndarray:
    """Broadcast the leading dimensions to `batch`, flatten them and put them last."""
    item = array.shape[array.ndim - item_dims :]
    count = int(np.prod(batch, dtype=np.int64))
    return np.moveaxis(np.broadcast_to(array, (*batch, *item)).reshape(count, *item), 0, -1)


def body_from_arrays(arrays: dict[str, np.ndarray], path: Path) -> BodyModel:
    """A body from the arrays of a body file, checked; `path` is for the error messages and the
    name.
    """
    check_arrays(arrays, path)
    posedirs = np.asarray(arrays["posedirs"])
    full = Mesh(
        v_template=arrays["v_template"].astype(np.float32),
        shapedirs=arrays["shapedirs"][..., :NUM_BETAS].astype(np.float32),
        posedirs=posedirs.astype(np.float32) if posedirs.any() else None,
        weights=arrays["weights"].astype(np.float32),
        faces=arrays["f"].astype(np.int32),
    )
    live = LiveMesh(
        arrays["live_vertex_ids"].astype(np.int32),
        arrays["live_vertex_weights"].astype(np.float32),
        arrays["live_f"].astype(np.int32),
    )
    regressor = arrays["J_regressor"].astype(np.float32)
    return BodyModel(
        name=_name(arrays["record"], path),
        J_template=regressor @ full.v_template,
        J_shapedirs=np.einsum("jv,vcb->jcb", regressor, full.shapedirs, optimize=True),
        full=full,
        live=full.carried_to(live),
    )


def _name(record: np.ndarray, path: Path) -> str:
    try:
        return str(json.loads(str(record))["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise PenumbraError(
            f"In the body file {path}, record is not a JSON object with a name."
        ) from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    hint = "give a file written by `python -m engines.convert_smpl`, or leave the argument out for the default body"
    if not path.is_file():
        raise PenumbraError(f"The body file {path} does not exist; {hint}.")
    try:
        return read_npz(path)
    except ValueError as error:
        raise PenumbraError(
            f"The body file {path} is not a safe .npz body ({error}); {hint}."
        ) from error


def check_arrays(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise a PenumbraError that names the first thing that is wrong with a body file."""
    required = (
        "v_template",
        "shapedirs",
        "posedirs",
        "weights",
        "J_regressor",
        "kintree_table",
        "f",
        "record",
    )
    missing = [
        key
        for key in (*required, "live_f", "live_vertex_ids", "live_vertex_weights")
        if key not in arrays
    ]
    if missing:
        raise PenumbraError(
            f"The body file {path} lacks {', '.join(missing)}; official SMPL files are converted once with "
            "`python -m engines.convert_smpl FILE`."
        )
    count, live_count = len(arrays["v_template"]), len(arrays["live_vertex_ids"])
    shapes = {
        "v_template": (count, 3),
        "posedirs": (count, 3, _NUM_POSE_FEATURES),
        "weights": (count, NUM_JOINTS),
        "J_regressor": (NUM_JOINTS, count),
        "kintree_table": (2, NUM_JOINTS),
        "live_vertex_ids": (live_count, 3),
        "live_vertex_weights": (live_count, 3),
        "shapedirs": (count, 3, max(NUM_BETAS, arrays["shapedirs"].shape[-1])),
        "f": (len(arrays["f"]), 3),
        "live_f": (len(arrays["live_f"]), 3),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise PenumbraError(
                f"In the body file {path}, {key} has shape {arrays[key].shape} where SMPL has {shape}."
            )
    for key in ("f", "live_vertex_ids", "live_f"):
        limit = live_count if key == "live_f" else count
        if arrays[key].size and not 0 <= int(arrays[key].min()) <= int(arrays[key].max()) < limit:
            raise PenumbraError(
                f"In the body file {path}, {key} points outside the {limit} vertices."
            )
    parents = arrays["kintree_table"][0].astype(np.int64)[1:]
    if tuple(parents) != PARENTS[1:]:
        raise PenumbraError(
            f"The body file {path} does not have SMPL's tree of 24 joints (kintree_table)."
        )
