"""The kernels of `steps.py`: where a step leads, and how what is predicted depends on it.

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

import warp as wp

from engines.camera import NEAREST_M
from engines.kernels.joints import bone, mat34, rotation_of
from engines.kernels.so3 import inverse_right_jacobian, quat_exp, quat_log, right_jacobian
from engines.types import NUM_BETAS

wp.set_module_options({"enable_backward": False})


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
