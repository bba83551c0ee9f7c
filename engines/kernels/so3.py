"""Rotations inside kernels: exponential, logarithm and Jacobians of SO(3), in float32.

Near no rotation each takes its series, where the closed form would divide by zero. NumPy's side of
it is `engines.rotations`, which the kernels are tested against.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# Functions of kernels are written in Warp's language; the type checker takes them for Python.

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def exp_so3(v: wp.vec3) -> wp.mat33:
    square = wp.dot(v, v)
    a = 1.0 - square / 6.0
    h = 1.0 - square / 24.0
    if square > 1.0e-6:
        half = 0.5 * wp.sqrt(square)
        h = wp.sin(half) / half
        a = h * wp.cos(half)  # sin t = 2 sin(t/2) cos(t/2)
    b = 0.5 * h * h
    K = wp.skew(v)
    return (
        wp.identity(n=3, dtype=wp.float32)
        + a * K
        + b * (wp.outer(v, v) - square * wp.identity(n=3, dtype=wp.float32))
    )


@wp.func
def quat_exp(v: wp.vec3) -> wp.quat:
    square = wp.dot(v, v)
    half = 0.5 * wp.sqrt(square)
    ratio = 0.5 - square / 48.0
    if square > 1.0e-6:
        ratio = 0.5 * wp.sin(half) / half
    return wp.quat(ratio * v[0], ratio * v[1], ratio * v[2], wp.cos(half))


@wp.func
def quat_log(q: wp.quat) -> wp.vec3:
    v = wp.vec3(q[0], q[1], q[2])
    w = q[3]
    if w < 0.0:
        v = -v
        w = -w
    sine = wp.length(v)
    ratio = 2.0 / wp.max(w, 0.1)
    if sine > 1.0e-4:
        ratio = 2.0 * wp.atan2(sine, w) / sine
    return ratio * v


@wp.func
def right_jacobian(v: wp.vec3) -> wp.mat33:
    square = wp.dot(v, v)
    a = 0.5 - square / 24.0
    b = 1.0 / 6.0 - square / 120.0
    if square > 1.0e-2:
        t = wp.sqrt(square)
        sine = wp.sin(0.5 * t) / t
        a = 2.0 * sine * sine
        b = (t - wp.sin(t)) / (square * t)
    W = wp.skew(v)
    return wp.identity(n=3, dtype=wp.float32) - a * W + b * (W * W)


@wp.func
def inverse_right_jacobian(v: wp.vec3) -> wp.mat33:
    square = wp.dot(v, v)
    b = 1.0 / 12.0 + square / 720.0
    if square > 1.0e-2:
        t = wp.sqrt(square)
        b = 1.0 / square - 0.5 / (t * wp.tan(0.5 * t))
    W = wp.skew(v)
    return wp.identity(n=3, dtype=wp.float32) + 0.5 * W + b * (W * W)
