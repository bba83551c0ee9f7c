"""Rotations inside kernels: exponential, logarithm and Jacobians of SO(3), in float32.

Near no rotation each takes its series, where the closed form would divide by zero; exponential and
logarithm do so as far as joints usually turn, since the library's sines take most of the time.
NumPy's side of it is `engines.rotations`, which the kernels are tested against.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# Functions of kernels are written in Warp's language; the type checker takes them for Python.

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def half_angle(square: float) -> wp.vec2:
    """Return sin(t/2) / (t/2) and cos(t/2) of an angle by its square."""
    h = 0.25 * square
    if h > 1.0:
        half = wp.sqrt(h)
        return wp.vec2(wp.sin(half) / half, wp.cos(half))
    # Taylor's series, exact to float32 up to 2 rad, where nearly all joints are
    ratio = 1.0 + h * (-1.0 / 6.0 + h * (1.0 / 120.0 + h * (-1.0 / 5040.0 + h * (1.0 / 362880.0))))
    cosine = 1.0 + h * (
        -0.5 + h * (1.0 / 24.0 + h * (-1.0 / 720.0 + h * (1.0 / 40320.0 - h * (1.0 / 3628800.0))))
    )
    return wp.vec2(ratio, cosine)


@wp.func
def exp_so3(v: wp.vec3) -> wp.mat33:
    square = wp.dot(v, v)
    half = half_angle(square)
    a = half[0] * half[1]  # sin t = 2 sin(t/2) cos(t/2)
    b = 0.5 * half[0] * half[0]
    K = wp.skew(v)
    return (
        wp.identity(n=3, dtype=wp.float32)
        + a * K
        + b * (wp.outer(v, v) - square * wp.identity(n=3, dtype=wp.float32))
    )


@wp.func
def quat_exp(v: wp.vec3) -> wp.quat:
    half = half_angle(wp.dot(v, v))
    ratio = 0.5 * half[0]
    return wp.quat(ratio * v[0], ratio * v[1], ratio * v[2], half[1])


@wp.func
def quat_log(q: wp.quat) -> wp.vec3:
    v = wp.vec3(q[0], q[1], q[2])
    w = q[3]
    if w < 0.0:
        v = -v
        w = -w
    # With x = tan(t/4)^2 it is 4 atan(sqrt x) / sqrt x / (1 + w) v.
    square = wp.dot(v, v)
    x = square / ((1.0 + w) * (1.0 + w))
    if x > 0.17:
        sine = wp.sqrt(square)
        return (2.0 * wp.atan2(sine, w) / sine) * v
    # below a quarter of a turn; the polynomial of Cephes' atanf (Moshier, 1989)
    atan = 1.0 + x * (
        -3.33329491539e-1 + x * (1.99777106478e-1 + x * (-1.38776856032e-1 + x * 8.05374449538e-2))
    )
    return (4.0 * atan / (1.0 + w)) * v


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
