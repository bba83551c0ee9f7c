"""Weighted mean and covariance of points over hypotheses, the distance they share taken out.

Let r be the unit ray from the camera to point 0 (the pelvis) of hypothesis 0, d_k = x_k0 . r the
distance of hypothesis k and w_k its weight divided by the sum of weights. Then

    p_kj   = x_kj + (d_0 - d_k) r                       all pelvises as far away as number 0's
    mean_j = sum_k w_k p_kj                             metres
    cov_j  = sum_k w_k (p_kj - mean_j)(p_kj - mean_j)^T square metres

and the mean and standard deviation of d_k are returned beside them. It takes one pass with West's
weighted update (Comm. ACM 22(9), 1979), which subtracts running means and so does not cancel even
in float32 at several metres; the moved points are never stored.
"""

# pyright: reportInvalidTypeForm=false
# Kernels are written in Warp's language; the type checker takes them for Python.

from dataclasses import dataclass

import numpy as np
import warp as wp
from jaxtyping import Float

from engines.kernels.launch import Buffer, check_weights, open_device, record

wp.set_module_options({"enable_backward": False})


@dataclass(frozen=True)
class Moments:
    """Spread of J points over K hypotheses; frame and units of the points."""

    mean: Float[np.ndarray, "J 3"]
    cov: Float[np.ndarray, "J 3 3"]
    ray: Float[np.ndarray, "3"]
    """Unit vector to point 0 of hypothesis 0; zero if that point is the origin, and then nothing is
    moved.
    """
    distance: Float[np.ndarray, "2"]
    """Mean and standard deviation of point 0's distance along `ray`."""


def weighted_moments_reference(
    points: Float[np.ndarray, "K J 3"], weights: Float[np.ndarray, "K"]
) -> Moments:
    """The specification, in the dtype of `points`.

    Args:
        points: joints in the camera frame, metres; point 0 is the pelvis.
        weights: non-negative, not all zero; only their ratios matter.
    """
    share = weights / weights.sum()
    length = np.linalg.norm(points[0, 0])
    ray = points[0, 0] / (length if length > 0 else 1)
    distance = points[:, 0] @ ray
    moved = points + ((distance[0] - distance)[:, None] * ray)[:, None]
    mean = np.einsum("k,kjx->jx", share, moved)
    centred = moved - mean
    cov = np.einsum("k,kjx,kjy->jxy", share, centred, centred)
    mean_distance = share @ distance
    std_distance = np.sqrt(share @ (distance - mean_distance) ** 2)
    return Moments(mean, cov, ray, np.array([mean_distance, std_distance], points.dtype))


@wp.func
def gain(weight: float, total: float) -> float:
    """Step of the running mean when `weight` has just been added to `total`; 0 / 0 counts as no
    step.
    """
    return wp.where(total > 0.0, weight / wp.max(total, 1.0e-38), 0.0)


@wp.kernel
def weighted_moments_kernel(
    # inputs
    points: wp.array2d(dtype=wp.vec3),  # (K, J)
    weights: wp.array(dtype=wp.float32),  # (K,)
    # outputs
    mean_out: wp.array(dtype=wp.vec3),  # (J,)
    cov_out: wp.array(dtype=wp.mat33),  # (J,)
    ray_out: wp.array(dtype=wp.vec3),  # (1,)
    distance_out: wp.array(dtype=wp.vec2),  # (1,)
):
    j = wp.tid()  # parallel over points
    ray = wp.normalize(points[0, 0])
    distance_0 = wp.dot(points[0, 0], ray)
    # Everything is taken relative to hypothesis 0, so that sums are of centimetres, not of metres.
    total = wp.float32(0.0)
    mean = wp.vec3(0.0)
    scatter = wp.mat33(0.0)
    mean_farther = wp.float32(0.0)
    scatter_farther = wp.float32(0.0)
    for k in range(points.shape[0]):
        weight = weights[k]
        total += weight
        step = gain(weight, total)
        farther = wp.dot(points[k, 0] - points[0, 0], ray)
        delta = points[k, j] - points[0, j] - farther * ray - mean
        mean += step * delta
        scatter += (weight * (1.0 - step)) * wp.outer(delta, delta)
        delta_farther = farther - mean_farther
        mean_farther += step * delta_farther
        scatter_farther += weight * (1.0 - step) * delta_farther * delta_farther
    mean_out[j] = points[0, j] + mean
    cov_out[j] = scatter / total
    if j == 0:
        ray_out[0] = ray
        distance_out[0] = wp.vec2(distance_0 + mean_farther, wp.sqrt(scatter_farther / total))


class MomentPlan:
    """The fused operation for fixed K and J, with every buffer allocated once.

    Args:
        num_hypotheses: K.
        num_points: J.
        device: "cpu" or "cuda:N".
    """

    def __init__(self, num_hypotheses: int, num_points: int, device: str = "cpu") -> None:
        opened = open_device(device)
        K, J = num_hypotheses, num_points
        self.points = Buffer("points", (K, J), wp.vec3, opened)
        self.weights = Buffer("weights", (K,), wp.float32, opened)
        self.mean = Buffer("mean", (J,), wp.vec3, opened)
        self.cov = Buffer("cov", (J,), wp.mat33, opened)
        self.ray = Buffer("ray", (1,), wp.vec3, opened)
        self.distance = Buffer("distance", (1,), wp.vec2, opened)
        inputs = [self.points.array, self.weights.array]
        outputs = [b.array for b in (self.mean, self.cov, self.ray, self.distance)]
        self._command = record(weighted_moments_kernel, J, inputs, outputs, opened, block_dim=32)

    def launch(self) -> None:
        """Run on what the buffers hold, on the current stream; copies nothing."""
        self._command.launch()

    def __call__(
        self, points: Float[np.ndarray, "K J 3"], weights: Float[np.ndarray, "K"]
    ) -> Moments:
        """Bring the inputs in, run, and return the results; see `weighted_moments_reference`."""
        self.points.write(points)
        self.weights.write(weights)
        check_weights(weights)
        self.launch()
        return Moments(
            self.mean.read(), self.cov.read(), self.ray.read()[0], self.distance.read()[0]
        )
