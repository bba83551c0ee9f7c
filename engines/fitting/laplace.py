"""What a fit leaves open: Laplace's approximation at each solution, and the mixture of them.

At a solution the objective is about its value E plus d^T A d / 2 with A = C^-1 + J^T N^-1 J, so the
posterior is there a normal distribution with covariance A^-1 and the mass exp(-E) |A|^-1/2 (Bishop,
Pattern Recognition and Machine Learning, 2006, section 4.4). Where the start decides which of
several solutions is found, one of them is far too sure of depth; so each start gives a component,
and starts that end in the same body give one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.coordinates import DIM
from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies
from engines.fitting.charts import Chart
from engines.fitting.solver import Solution
from engines.kernels import Skeleton
from engines.types import NUM_JOINTS, JointMoments

SAME_M = 0.02
"""Bodies whose joints differ by less on average, the distance apart, are the same solution."""


@dataclass(frozen=True)
class Posterior:
    """Of B images, each with S solutions: a mixture of normal distributions of the step."""

    chart: Chart
    """Of B S bodies, those of image 0 first."""
    solution: Solution
    cov: Float[np.ndarray, "K D D"]
    """Covariance of each step."""
    by_step: Float[np.ndarray, "K 72 D"]
    """Derivative of the joints by it."""
    weights: Float[np.ndarray, "B S"]
    """Mass of each solution; 0 where another start found it with less cost."""

    def best(self) -> Int[np.ndarray, "B"]:
        """Return the number of each image's heaviest solution among all bodies."""
        count = self.weights.shape[1]
        return np.arange(len(self.weights)) * count + self.weights.argmax(1)

    def moments(self, image: int) -> JointMoments:
        """Return mean and covariance of the joints, the shared distance kept apart."""
        count = self.weights.shape[1]
        some = slice(image * count, (image + 1) * count)
        weights, joints = self.weights[image], self.solution.bodies.joints[some]
        pelvis = joints[weights.argmax(), 0]
        ray = pelvis / np.linalg.norm(pelvis)
        G = self.by_step[some].reshape(count, NUM_JOINTS, 3, -1)
        across = G - ray[:, None] * (ray @ G[:, 0])[:, None, None]
        x = joints - ((joints[:, 0] - pelvis) @ ray)[:, None, None] * ray
        mean = np.tensordot(weights, x, 1)
        between = (x - mean)[..., None] * (x - mean)[..., None, :]
        within = across @ self.cov[some, None] @ across.swapaxes(-1, -2)
        along = (ray @ G[:, 0])[:, None]
        variance = (along @ self.cov[some] @ along.swapaxes(-1, -2))[:, 0, 0]
        distance = joints[:, 0] @ ray
        variance = variance + (distance - weights @ distance) ** 2
        cov = np.tensordot(weights, within + between, 1)
        return JointMoments(mean, cov, float(np.sqrt(weights @ variance)), ray)

    def entropy(self, image: int) -> float:
        """Return the entropy of an image's mixture, nats, as if its components lay apart."""
        count, dim = self.weights.shape[1], self.cov.shape[-1]
        weights = self.weights[image]
        _, log_det = np.linalg.slogdet(self.cov[image * count : (image + 1) * count])
        each = 0.5 * (log_det + dim * np.log(2 * np.pi * np.e))
        return float(weights @ each - (weights * np.log(np.maximum(weights, 1e-300))).sum())

    def sample(
        self, image: int, count: int, rng: np.random.Generator
    ) -> tuple[Bodies, Float[np.ndarray, "M"]]:
        """Draw bodies of an image; number 0 is the heaviest solution itself.

        Returns:
            The bodies, and the log density of each in its component, the component's mass included.
        """
        starts = self.weights.shape[1]
        number = rng.choice(starts, count, p=self.weights[image])
        number[0] = self.weights[image].argmax()
        index = image * starts + number
        L = np.linalg.cholesky(self.cov[image * starts : (image + 1) * starts])
        noise = rng.standard_normal((count, L.shape[-1]))
        noise[0] = 0.0
        step = self.solution.step[index] + (L[number] @ noise[..., None])[..., 0]
        log_det = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(-1)[number]
        log_mass = np.log(self.weights[image, number])
        constant = 0.5 * noise.shape[1] * np.log(2 * np.pi)
        log_q = log_mass - 0.5 * (noise**2).sum(-1) - log_det - constant
        return self.chart.take(index).bodies(step), log_q


def posterior(
    skeleton: Skeleton, chart: Chart, anchor: Anchor, solution: Solution, starts: int
) -> Posterior:
    """Approximate the posterior around solutions.

    Args:
        skeleton: of the bodies.
        chart: in which they were found.
        anchor: that they were held by.
        solution: S for each image.
        starts: S.
    """
    rows, bodies = solution.rows, solution.bodies
    weighted = np.swapaxes(rows.J / rows.variance[..., None], -1, -2)
    precision = anchor.precision + weighted @ rows.J
    cov = np.linalg.inv(precision)
    _, log_det = np.linalg.slogdet(precision)
    G = bodies.joint_jacobian(skeleton, np.arange(NUM_JOINTS)).reshape(bodies.count, -1, DIM)
    log_mass = (-solution.cost - 0.5 * log_det).reshape(-1, starts)
    cost = solution.cost.reshape(-1, starts)
    joints = bodies.joints.reshape(-1, starts, NUM_JOINTS, 3)
    weights = np.exp(log_mass - log_mass.max(1, keepdims=True))
    weights = np.where(_again(joints, cost), 0.0, weights)
    weights /= weights.sum(1, keepdims=True)
    return Posterior(chart, solution, cov, chart.derivative(G, solution.step), weights)


def _again(
    joints: Float[np.ndarray, "B S 24 3"], cost: Float[np.ndarray, "B S"]
) -> Bool[np.ndarray, "B S"]:
    """Whether a solution is the same as one with less cost, or as an earlier one with as much."""
    x = joints - joints[:, :, :1]
    away = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1).mean(-1)  # (B, S, S)
    mine, other = cost[:, :, None], cost[:, None]
    earlier = np.tri(cost.shape[1], k=-1, dtype=bool)
    return ((away < SAME_M) & ((other < mine) | ((other == mine) & earlier))).any(-1)
