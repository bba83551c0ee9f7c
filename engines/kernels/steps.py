"""Bodies moved by a step each: their joints, the projections of some, and how these depend on it.

The coordinates of a step (85 numbers) and the Jacobian of joints are those of
`engines.coordinates`, projections and hinges those of `engines.fitting` (`residuals.py`,
`limits.py`), which are the reference. For body k, with start R, step e and marked joint m at
x_m = (x, y, z):

    R_j <- R_j exp(e_j)     predicted_m = (x, y) / z     M_a = R_cam_a J_r(e_a)
    d predicted_m / d e_a = ((x_m - x_a) x u)^T M_a      u = (1, 0, -x/z) / z  or  (0, 1, -y/z) / z

J_r, the right Jacobian of SO(3), makes it the derivative by the step itself, not by a turn after
it. Only the columns that marked joints depend on are stored: turns of the bones above them, shape,
and pelvis. Rows of hinges are the derivative of one component of a joint's rotation vector.

Fused: a body's rotations are turned, chained and projected in one pass, as quaternions, which give
rotation vectors without a detour.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# Kernels are written in Warp's language; the type checker takes them for Python.

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import warp as wp
from jaxtyping import Bool, Float

from engines.camera import NEAREST_M
from engines.kernels.joints import Skeleton, bone, mat34, rotation_of
from engines.kernels.launch import Buffer, open_device, record
from engines.kernels.so3 import inverse_right_jacobian, quat_exp, quat_log, right_jacobian
from engines.types import NUM_BETAS

wp.set_module_options({"enable_backward": False})


@dataclass(frozen=True)
class Marks:
    """What is predicted of a body: joints in the image, and angles of hinges."""

    joints: tuple[int, ...]
    """Joints that are projected."""
    hinges: tuple[tuple[int, int], ...]
    """Joint, and component of its rotation vector."""


@dataclass(frozen=True)
class MovedBodies:
    """K bodies after their steps."""

    rotvec: Float[np.ndarray, "K J 3"]
    """Axis-angle, each relative to its parent, the root relative to the camera."""
    betas: Float[np.ndarray, "K 10"]
    transl: Float[np.ndarray, "K 3"]
    """SMPL's `transl`, metres."""
    joints: Float[np.ndarray, "K J 3"]
    """Camera frame, metres."""
    T_cam_rest: Float[np.ndarray, "K J 3 4"]
    """Skinning matrices, as in `engines.kernels.joints`."""


@wp.kernel
def steps_from_first_kernel(
    # inputs
    rotvec: wp.array2d(dtype=wp.vec3),  # (K, J)
    betas: wp.array2d(dtype=wp.float32),  # (K, 10)
    pelvis: wp.array(dtype=wp.vec3),  # (K,)
    # outputs
    steps_out: wp.array2d(dtype=wp.float32),  # (K, D)
):
    j = wp.tid()  # parallel over joints
    J = rotvec.shape[1]
    back = quat_exp(-rotvec[0, j])
    for k in range(rotvec.shape[0]):
        e = quat_log(back * quat_exp(rotvec[k, j]))
        for i in range(3):
            steps_out[k, 3 * j + i] = e[i]
        if j == 0:
            for i in range(NUM_BETAS):
                steps_out[k, 3 * J + i] = betas[k, i] - betas[0, i]
            for i in range(3):
                steps_out[k, 3 * J + NUM_BETAS + i] = pelvis[k][i] - pelvis[0][i]


@wp.kernel
def move_kernel(
    # constants
    J_template: wp.array(dtype=wp.vec3),
    J_shapedirs: wp.array2d(dtype=wp.vec3),  # (J, 10)
    parents: wp.array(dtype=wp.int32),
    marked: wp.array(dtype=wp.int32),
    hinge_joint: wp.array(dtype=wp.int32),
    hinge_axis: wp.array(dtype=wp.int32),
    # inputs
    rotvec: wp.array2d(dtype=wp.vec3),  # (K, J)
    betas: wp.array2d(dtype=wp.float32),  # (K, 10)
    pelvis: wp.array(dtype=wp.vec3),  # (K,)
    step: wp.array2d(dtype=wp.float32),  # (K, D)
    chosen: wp.array(dtype=wp.int32),  # (K,) 0 for bodies that stay where the last move put them
    # outputs
    rotvec_out: wp.array2d(dtype=wp.vec3),  # (K, J)
    betas_out: wp.array2d(dtype=wp.float32),  # (K, 10)
    transl_out: wp.array(dtype=wp.vec3),  # (K,)
    joints_out: wp.array2d(dtype=wp.vec3),  # (K, J)
    T_cam_rest_out: wp.array2d(dtype=mat34),  # (K, J)
    predicted_out: wp.array2d(dtype=wp.vec2),  # (K, m)
    angle_out: wp.array2d(dtype=wp.float32),  # (K, h)
):
    k = wp.tid()  # parallel over bodies
    if chosen[k] == 0:
        return
    J = parents.shape[0]
    B = 3 * J
    for i in range(NUM_BETAS):
        betas_out[k, i] = betas[k, i] + step[k, B + i]
    B += NUM_BETAS
    for j in range(J):
        rest = J_template[j]
        for i in range(NUM_BETAS):
            rest += betas_out[k, i] * J_shapedirs[j, i]
        e = wp.vec3(step[k, 3 * j], step[k, 3 * j + 1], step[k, 3 * j + 2])
        q = quat_exp(rotvec[k, j]) * quat_exp(e)
        rotvec_out[k, j] = quat_log(q)
        R = wp.quat_to_matrix(q)
        x = pelvis[k] + wp.vec3(step[k, B], step[k, B + 1], step[k, B + 2])
        if j == 0:
            transl_out[k] = x - rest
        else:
            above = T_cam_rest_out[k, parents[j]]
            R = rotation_of(above) * R
            x = above * wp.vec4(rest[0], rest[1], rest[2], 1.0)
        joints_out[k, j] = x
        T_cam_rest_out[k, j] = bone(R, x - R * rest)
    for m in range(marked.shape[0]):
        x = joints_out[k, marked[m]]
        z = wp.max(x[2], NEAREST_M)
        predicted_out[k, m] = wp.vec2(x[0] / z, x[1] / z)
    for h in range(hinge_joint.shape[0]):
        w = rotvec_out[k, hinge_joint[h]]
        angle_out[k, h] = w[hinge_axis[h]]


@wp.kernel
def jacobian_kernel(
    # constants
    J_shapedirs: wp.array2d(dtype=wp.vec3),  # (J, 10)
    parents: wp.array(dtype=wp.int32),
    marked: wp.array(dtype=wp.int32),
    hinge_joint: wp.array(dtype=wp.int32),
    hinge_axis: wp.array(dtype=wp.int32),
    column: wp.array(dtype=wp.int32),  # (J,) of the bone's turns, -1 for bones that move no mark
    # inputs
    step: wp.array2d(dtype=wp.float32),  # (K, D)
    rotvec: wp.array2d(dtype=wp.vec3),  # (K, J) after the step
    joints: wp.array2d(dtype=wp.vec3),  # (K, J)
    T_cam_rest: wp.array2d(dtype=mat34),  # (K, J)
    # scratch
    turn: wp.array2d(dtype=wp.mat33),  # (K, J)
    by_shape: wp.array3d(dtype=wp.vec3),  # (K, J, 10)
    # outputs
    J_out: wp.array3d(dtype=wp.float32),  # (K, 2 m + h, C)
):
    k = wp.tid()  # parallel over bodies
    J = parents.shape[0]
    shape_column = J_out.shape[2] - NUM_BETAS - 3
    for j in range(J):
        e = wp.vec3(step[k, 3 * j], step[k, 3 * j + 1], step[k, 3 * j + 2])
        if column[j] >= 0:
            turn[k, j] = right_jacobian(e)
        if j > 0:
            above = parents[j]
            if column[above] >= 0:
                R = rotation_of(T_cam_rest[k, above])
                for i in range(NUM_BETAS):
                    bone_change = J_shapedirs[j, i] - J_shapedirs[above, i]
                    by_shape[k, j, i] = by_shape[k, above, i] + R * bone_change
    for m in range(marked.shape[0]):
        x = joints[k, marked[m]]
        z = wp.max(x[2], NEAREST_M)
        by_depth = wp.where(x[2] > NEAREST_M, -1.0 / z, 0.0)  # 0 where it is held
        u = wp.vec3(1.0, 0.0, x[0] * by_depth) / z
        v = wp.vec3(0.0, 1.0, x[1] * by_depth) / z
        a = parents[marked[m]]
        while a >= 0:
            lever = x - joints[k, a]
            M = rotation_of(T_cam_rest[k, a]) * turn[k, a]
            gu = wp.cross(lever, u) * M  # a row vector
            gv = wp.cross(lever, v) * M
            for i in range(3):
                J_out[k, 2 * m, column[a] + i] = gu[i]
                J_out[k, 2 * m + 1, column[a] + i] = gv[i]
            a = parents[a]
        for i in range(NUM_BETAS):
            change = by_shape[k, marked[m], i]
            J_out[k, 2 * m, shape_column + i] = wp.dot(u, change)
            J_out[k, 2 * m + 1, shape_column + i] = wp.dot(v, change)
        for i in range(3):
            J_out[k, 2 * m, shape_column + NUM_BETAS + i] = u[i]
            J_out[k, 2 * m + 1, shape_column + NUM_BETAS + i] = v[i]
    for h in range(hinge_joint.shape[0]):
        j = hinge_joint[h]
        by_turn = inverse_right_jacobian(rotvec[k, j]) * turn[k, j]
        for i in range(3):
            J_out[k, 2 * marked.shape[0] + h, column[j] + i] = by_turn[hinge_axis[h], i]


class StepPlan:
    """Moves K bodies of one skeleton; every buffer is allocated once.

    Usage: `load` the bodies, then `move` them from there as often as wanted; `jacobian` and
    `bodies` speak of the bodies after the last move.
    """

    def __init__(
        self, skeleton: Skeleton, num_hypotheses: int, marks: Marks, device: str = "cpu"
    ) -> None:
        """Compile or load the kernels."""
        opened = open_device(device)
        K, J = num_hypotheses, len(skeleton.parents)
        D, m, h = 3 * J + NUM_BETAS + 3, len(marks.joints), len(marks.hinges)
        bones = moving_bones(skeleton.parents, marks.joints)
        self.columns = columns_of(bones, J)
        """Which of the D coordinates the columns of the Jacobian are."""
        C = len(self.columns)
        self.rotvec = Buffer("rotvec", (K, J), wp.vec3, opened)
        self.betas = Buffer("betas", (K, NUM_BETAS), wp.float32, opened)
        self.pelvis = Buffer("pelvis", (K,), wp.vec3, opened)
        self.step = Buffer("step", (K, D), wp.float32, opened)
        self._steps_from_first = Buffer("steps", (K, D), wp.float32, opened)
        self._rotvec = Buffer("rotvec_out", (K, J), wp.vec3, opened)
        self._betas = Buffer("betas_out", (K, NUM_BETAS), wp.float32, opened)
        self._transl = Buffer("transl", (K,), wp.vec3, opened)
        self._joints = Buffer("joints", (K, J), wp.vec3, opened)
        self._T_cam_rest = Buffer("T_cam_rest", (K, J), mat34, opened)
        self._predicted = Buffer("predicted", (K, m), wp.vec2, opened)
        self._angle = Buffer("angle", (K, h), wp.float32, opened)
        self._jacobian = Buffer("J", (K, 2 * m + h, C), wp.float32, opened)
        self._chosen = Buffer("chosen", (K,), wp.int32, opened)
        turn = wp.zeros((K, J), dtype=wp.mat33, device=opened)
        by_shape = wp.zeros((K, J, NUM_BETAS), dtype=wp.vec3, device=opened)

        def numbers(values: Sequence[int]) -> wp.array:
            return wp.array(np.array(values, np.int32), dtype=wp.int32, device=opened)

        shapedirs = np.ascontiguousarray(skeleton.J_shapedirs.transpose(0, 2, 1))
        template = np.ascontiguousarray(skeleton.J_template)
        dirs = wp.array(shapedirs, dtype=wp.vec3, device=opened)
        parents, marked = numbers(skeleton.parents), numbers(marks.joints)
        hinges = [numbers([hinge[i] for hinge in marks.hinges]) for i in range(2)]
        column = np.full(J, -1)
        column[list(bones)] = 3 * np.arange(len(bones))
        start = [b.array for b in (self.rotvec, self.betas, self.pelvis)]
        moving = [self.step.array, self._chosen.array]
        self._compare = record(
            steps_from_first_kernel,
            J,
            start,
            [self._steps_from_first.array],
            opened,
            block_dim=32,
        )
        rest = wp.array(template, dtype=wp.vec3, device=opened)
        outputs = (self._rotvec, self._betas, self._transl, self._joints, self._T_cam_rest)
        self._move = record(
            move_kernel,
            K,
            [rest, dirs, parents, marked, *hinges, *start, *moving],
            [b.array for b in (*outputs, self._predicted, self._angle)],
            opened,
            block_dim=32,
        )
        after = (self._rotvec.array, self._joints.array, self._T_cam_rest.array)
        fixed = [dirs, parents, marked, *hinges, numbers(column), self.step.array, *after]
        results = [turn, by_shape, self._jacobian.array]
        self._differentiate, self._differentiate_first = (
            record(jacobian_kernel, count, fixed, results, opened, block_dim=32) for count in (K, 1)
        )

    def load(
        self,
        rotvec: Float[np.ndarray, "K J 3"],
        betas: Float[np.ndarray, "K 10"],
        pelvis: Float[np.ndarray, "K 3"],
    ) -> None:
        """Bring the bodies in from which steps are taken."""
        self.rotvec.write(rotvec)
        self.betas.write(betas)
        self.pelvis.write(pelvis)

    def load_first(self) -> None:
        """Let all steps be taken from body 0 of those that were loaded."""
        for buffer in (self.rotvec, self.betas, self.pelvis):
            with buffer.writing() as to:
                to[1:] = to[0]

    def steps_from_first(self) -> Float[np.ndarray, "K D"]:
        """Return the steps that take body 0 of those that were loaded to each."""
        self._compare.launch()
        return self._steps_from_first.read()

    def move(
        self, step: Float[np.ndarray, "K D"], chosen: Bool[np.ndarray, "K"] | None = None
    ) -> tuple[Float[np.ndarray, "K m 2"], Float[np.ndarray, "K h"]]:
        """Move the loaded bodies; return the projections of joints, and the hinges' angles.

        Args:
            step: of each body.
            chosen: those that move; the step of the others is that of the last call. All when None.
        """
        self.step.write(step)
        with self._chosen.writing() as to:
            to[:] = 1 if chosen is None else chosen
        self._move.launch()
        return self._predicted.read(), self._angle.read()

    def jacobian(self, first_only: bool = False) -> Float[np.ndarray, "#K r C"]:
        """Differentiate what `move` returned by the step: rows x, y of each joint, then angles.

        The result is the plan's own memory: the next call overwrites it.
        """
        if first_only:
            self._differentiate_first.launch()
            return self._jacobian.view()[:1]
        self._differentiate.launch()
        return self._jacobian.view()

    def first_rotations(self) -> Float[np.ndarray, "J 3 3"]:
        """Return the rotations from body 0's bones to the camera."""
        return self._T_cam_rest.view()[0, :, :, :3].copy()

    def bodies(self) -> MovedBodies:
        """Return the moved bodies."""
        outputs = (self._rotvec, self._betas, self._transl, self._joints, self._T_cam_rest)
        return MovedBodies(*(buffer.read() for buffer in outputs))


def moving_bones(parents: Sequence[int], joints: Sequence[int]) -> tuple[int, ...]:
    """List the bones whose turns move any of the joints."""
    bones: set[int] = set()
    for joint in joints:
        above = parents[joint]
        while above >= 0:
            bones.add(above)
            above = parents[above]
    return tuple(sorted(bones))


def columns_of(bones: Sequence[int], num_joints: int) -> np.ndarray:
    """Number the coordinates of these bones' turns, of shape and of the pelvis."""
    turns = [3 * bone + i for bone in bones for i in range(3)]
    return np.array([*turns, *range(3 * num_joints, 3 * num_joints + NUM_BETAS + 3)])
