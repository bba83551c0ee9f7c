"""Rotation vectors, shape and pelvis to joints and bone transforms, in one pass.

For hypothesis k, joint j with parent p, rest joint J_j(beta) = J_template_j + J_shapedirs_j beta
(SMPL's equations, Loper et al. 2015, section 3):

    R_0 = R_left exp(rotvec_0)          x_0 = pelvis
    R_j = R_p exp(rotvec_j)             x_j = R_p J_j + t_p          t_j = x_j - R_j J_j

x_j is the joint in the camera frame, metres. [R_j | t_j] maps a vertex of the shaped body at rest
to the camera: a skinned vertex is sum_j w_j (R_j v + t_j). SMPL's `transl` is pelvis - J_0(beta),
because SMPL turns the root about J_0. Correctives that depend on the pose do not move joints and
are left out.

Fused: rotation matrices of single joints and rest joints stay in registers; only what is asked for
is written.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# Kernels are written in Warp's language; the type checker takes them for Python.

from dataclasses import dataclass

import numpy as np
import warp as wp
from jaxtyping import Float

from engines.kernels.launch import Buffer, check_array, open_device, record
from engines.kernels.so3 import exp_so3, quat_log
from engines.rotations import log_so3
from engines.types import NUM_BETAS, PARENTS

wp.set_module_options({"enable_backward": False})  # the trainer differentiates torch, not these

mat34 = wp.types.matrix(shape=(3, 4), dtype=wp.float32)


@dataclass(frozen=True)
class Skeleton:
    """Where the joints of the rest body are, as a linear function of shape."""

    J_template: Float[np.ndarray, "J 3"]
    """Rest joints of the mean shape, body frame, metres."""
    J_shapedirs: Float[np.ndarray, "J 3 10"]
    """Change of the rest joints per unit of each shape coefficient, metres."""
    parents: tuple[int, ...] = PARENTS
    """Parent of each joint, which comes before its children; -1 for the root, joint 0."""

    def __post_init__(self) -> None:
        num_joints = len(self.parents)
        check_array("J_template", self.J_template, (num_joints, 3), contiguous=False)
        check_array("J_shapedirs", self.J_shapedirs, (num_joints, 3, NUM_BETAS), contiguous=False)
        if self.parents[0] != -1 or any(
            not 0 <= p < j for j, p in enumerate(self.parents) if j > 0
        ):
            raise ValueError(
                "parents: must start with -1 and give every other joint one that comes before it; "
                "reorder the joints."
            )


@dataclass(frozen=True)
class PosedJoints:
    """K posed skeletons in the camera frame."""

    joints: Float[np.ndarray, "K J 3"]
    """Metres."""
    T_cam_rest: Float[np.ndarray, "K J 3 4"]
    """[R_j | t_j] of each bone, from the shaped body at rest to the camera (SMPL's skinning
    matrices).

    Not `PosedBody.T_cam_bone` of `engines.body`, whose origin is the bone's joint.
    """
    transl: Float[np.ndarray, "K 3"]
    """SMPL's `transl`, metres."""
    root: Float[np.ndarray, "K 3"]
    """Rotation vector of R_0, radians."""


def pose_joints_reference(
    rotvec: Float[np.ndarray, "K J 3"],
    R_left: Float[np.ndarray, "3 3"],
    betas: Float[np.ndarray, "K 10"],
    pelvis: Float[np.ndarray, "K 3"],
    skeleton: Skeleton,
) -> PosedJoints:
    """The specification, in the dtype of `rotvec`.

    Args:
        rotvec: axis-angle vectors, radians; row 0 is the root's residual.
        R_left: multiplied on the left of the root's exponential.
        betas: SMPL shape coefficients.
        pelvis: position of joint 0 in the camera frame, metres.
        skeleton: of the body.
    """
    rest = skeleton.J_template + np.einsum("jcb,kb->kjc", skeleton.J_shapedirs, betas)
    local = _exp_reference(rotvec)
    num_hypotheses, num_joints = rotvec.shape[:2]
    T_cam_rest = np.empty((num_hypotheses, num_joints, 3, 4), rotvec.dtype)
    joints = np.empty((num_hypotheses, num_joints, 3), rotvec.dtype)
    for j, parent in enumerate(skeleton.parents):
        above = T_cam_rest[:, parent]
        rotation = (R_left if j == 0 else above[..., :3]) @ local[:, j]
        position = (
            pelvis
            if j == 0
            else np.einsum("kxy,ky->kx", above[..., :3], rest[:, j]) + above[..., 3]
        )
        joints[:, j] = position
        T_cam_rest[:, j, :, :3] = rotation
        T_cam_rest[:, j, :, 3] = position - np.einsum("kxy,ky->kx", rotation, rest[:, j])
    root = log_so3(T_cam_rest[:, 0, :, :3])
    return PosedJoints(joints, T_cam_rest, pelvis - rest[:, 0], root)


def _exp_reference(rotvec: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Return I + a K + b K^2 (Rodrigues) with t the angle, a = sin t / t, b = (1 - cos t) / t^2."""
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2.0 * np.pi)) ** 2
    K = np.zeros((*rotvec.shape, 3), rotvec.dtype)
    x, y, z = np.moveaxis(rotvec, -1, 0)
    K[..., 0, 1], K[..., 0, 2], K[..., 1, 2] = -z, y, -x
    K -= np.swapaxes(K, -1, -2).copy()
    return np.eye(3, dtype=rotvec.dtype) + a * K + b * (K @ K)


@wp.func
def rotation_of(T: mat34) -> wp.mat33:
    return wp.mat33(T[0, 0], T[0, 1], T[0, 2], T[1, 0], T[1, 1], T[1, 2], T[2, 0], T[2, 1], T[2, 2])


@wp.func
def bone(R: wp.mat33, t: wp.vec3) -> mat34:
    return mat34(
        R[0, 0], R[0, 1], R[0, 2], t[0],
        R[1, 0], R[1, 1], R[1, 2], t[1],
        R[2, 0], R[2, 1], R[2, 2], t[2],
    )  # fmt: skip


@wp.kernel
def pose_joints_kernel(
    # constants
    J_template: wp.array(dtype=wp.vec3),
    J_shapedirs: wp.array2d(dtype=wp.vec3),  # (J, 10)
    parents: wp.array(dtype=wp.int32),
    # inputs
    rotvec: wp.array2d(dtype=wp.vec3),  # (K, J)
    R_left: wp.array(dtype=wp.mat33),  # (1,)
    betas: wp.array2d(dtype=wp.float32),  # (K, 10)
    pelvis: wp.array(dtype=wp.vec3),  # (K,)
    # outputs
    joints_out: wp.array2d(dtype=wp.vec3),  # (K, J)
    T_cam_rest_out: wp.array2d(dtype=mat34),  # (K, J)
    transl_out: wp.array(dtype=wp.vec3),  # (K,)
    root_out: wp.array(dtype=wp.vec3),  # (K,)
):
    k = wp.tid()  # parallel over hypotheses
    for j in range(parents.shape[0]):
        rest = J_template[j]
        for i in range(NUM_BETAS):  # a constant, so that the loop is unrolled
            rest += betas[k, i] * J_shapedirs[j, i]
        R = exp_so3(rotvec[k, j])
        x = pelvis[k]
        if j == 0:
            R = R_left[0] * R
            transl_out[k] = x - rest
            root_out[k] = quat_log(wp.quat_from_matrix(R))
        else:
            above = T_cam_rest_out[k, parents[j]]
            R = rotation_of(above) * R
            x = above * wp.vec4(rest[0], rest[1], rest[2], 1.0)
        joints_out[k, j] = x
        T_cam_rest_out[k, j] = bone(R, x - R * rest)


class JointPlan:
    """The fused operation for one skeleton and a fixed K, with every buffer allocated once.

    For a CUDA graph: fill the input buffers, capture `launch`, then change inputs in place
    (`rotvec.write`, or `wp.to_torch(plan.rotvec.array)`) and replay.
    """

    def __init__(self, skeleton: Skeleton, num_hypotheses: int, device: str = "cpu") -> None:
        if num_hypotheses < 1:
            raise ValueError(
                f"num_hypotheses: must be at least 1, not {num_hypotheses}; ask for more."
            )
        opened = open_device(device)
        K, J = num_hypotheses, len(skeleton.parents)
        self.rotvec = Buffer("rotvec", (K, J), wp.vec3, opened)
        self.R_left = Buffer("R_left", (1,), wp.mat33, opened)
        self.betas = Buffer("betas", (K, NUM_BETAS), wp.float32, opened)
        self.pelvis = Buffer("pelvis", (K,), wp.vec3, opened)
        self.joints = Buffer("joints", (K, J), wp.vec3, opened)
        self.T_cam_rest = Buffer("T_cam_rest", (K, J), mat34, opened)
        self.transl = Buffer("transl", (K,), wp.vec3, opened)
        self.root = Buffer("root", (K,), wp.vec3, opened)
        shapedirs = np.ascontiguousarray(skeleton.J_shapedirs.transpose(0, 2, 1))
        constants = [
            wp.array(np.ascontiguousarray(skeleton.J_template), dtype=wp.vec3, device=opened),
            wp.array(shapedirs, dtype=wp.vec3, device=opened),
            wp.array(np.array(skeleton.parents, np.int32), dtype=wp.int32, device=opened),
        ]
        inputs = [b.array for b in (self.rotvec, self.R_left, self.betas, self.pelvis)]
        outputs = [b.array for b in (self.joints, self.T_cam_rest, self.transl, self.root)]
        self._command = record(
            pose_joints_kernel, K, [*constants, *inputs], outputs, opened, block_dim=32
        )

    def launch(self) -> None:
        """Run on what the buffers hold, on the current stream; copies nothing."""
        self._command.launch()

    def __call__(
        self,
        rotvec: Float[np.ndarray, "K J 3"],
        R_left: Float[np.ndarray, "3 3"],
        betas: Float[np.ndarray, "K 10"],
        pelvis: Float[np.ndarray, "K 3"],
    ) -> PosedJoints:
        """Bring the inputs in, run, and return the results; see `pose_joints_reference`."""
        check_array("R_left", R_left, (3, 3))
        self.rotvec.write(rotvec)
        self.R_left.write(R_left[None])
        self.betas.write(betas)
        self.pelvis.write(pelvis)
        self.launch()
        outputs = (self.joints, self.T_cam_rest, self.transl, self.root)
        return PosedJoints(*(buffer.read() for buffer in outputs))
