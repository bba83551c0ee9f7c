"""Charts: their derivatives against central differences, and what a latent code leaves alone."""

from dataclasses import dataclass

import numpy as np
import pytest

from engines.coordinates import DIM
from engines.fitting.bodies import Bodies
from engines.fitting.charts import Chart, Latent, Turns
from engines.kernels import Skeleton
from engines.rotations import exp_so3, right_jacobian
from tests.support.fitting_problem import random_bodies

K = 3
CODE = 5


@dataclass(frozen=True)
class CurvedDecoder:
    """Rotation vectors that are tanh of a linear function of the code, joints 1 to 21."""

    A: np.ndarray

    @property
    def dim(self) -> int:
        return self.A.shape[-1]

    def decode(self, z: np.ndarray) -> np.ndarray:
        return self.decode_with_jacobian(z)[0]

    def decode_with_jacobian(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rotvec = np.tanh(np.einsum("jiz,kz->kji", self.A, z))
        R = np.tile(np.eye(3), (len(z), 24, 1, 1))
        R[:, 1:22] = exp_so3(rotvec)
        J = np.zeros((len(z), 24, 3, self.dim))
        J[:, 1:22] = right_jacobian(rotvec) @ ((1 - rotvec**2)[..., None] * self.A)
        return R, J

    def encode(self, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def decoder() -> CurvedDecoder:
    return CurvedDecoder(np.random.default_rng(1).normal(0, 0.3, (21, 3, CODE)))


def charts(skeleton: Skeleton) -> list[Chart]:
    start = random_bodies(skeleton, K, 2)
    return [Turns(skeleton, start), Latent(skeleton, decoder(), start)]


def joints_by_step(skeleton: Skeleton, chart: Chart, step: np.ndarray) -> np.ndarray:
    J = chart.bodies(step).joint_jacobian(skeleton, np.arange(24))
    return chart.derivative(J.reshape(K, -1, DIM), step)


@pytest.mark.parametrize("which", [0, 1])
def test_derivatives_are_those_by_the_step(skeleton: Skeleton, which: int) -> None:
    chart = charts(skeleton)[which]
    step = np.random.default_rng(3).normal(0, 0.4, (K, chart.dim))
    found = joints_by_step(skeleton, chart, step)
    assert found.shape == (K, 72, chart.dim)
    for i in range(chart.dim):
        change = np.zeros_like(step)
        change[:, i] = 1e-6
        ahead, behind = (chart.bodies(step + d).joints.reshape(K, -1) for d in (change, -change))
        np.testing.assert_allclose(found[..., i], (ahead - behind) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("which", [0, 1])
def test_the_first_body_alone_has_the_same_derivative(skeleton: Skeleton, which: int) -> None:
    chart = charts(skeleton)[which]
    step = np.random.default_rng(4).normal(0, 0.4, (K, chart.dim))
    J = np.random.default_rng(5).standard_normal((K, 7, DIM))
    np.testing.assert_allclose(
        chart.derivative(J[:1], step[:1]), chart.derivative(J, step)[:1], atol=1e-12
    )


def test_a_code_decides_the_pose_and_nothing_else(skeleton: Skeleton) -> None:
    start = random_bodies(skeleton, K, 6)
    chart = Latent(skeleton, decoder(), start)
    step = np.zeros((K, chart.dim))
    step[:, 3 : 3 + CODE] = np.random.default_rng(7).standard_normal((K, CODE))
    after = chart.bodies(step)
    R, _ = chart.decoder.decode_with_jacobian(step[:, 3 : 3 + CODE])
    np.testing.assert_array_equal(after.R[:, 1:], R[:, 1:])
    for name in ("betas", "pelvis"):
        np.testing.assert_array_equal(getattr(after, name), getattr(start, name))
    np.testing.assert_allclose(after.R[:, 0], start.R[:, 0], atol=1e-12)
    other = Bodies(**(vars(start) | {"R": np.concatenate([start.R[:, :1], R[:, 1:]], 1)}))
    same = Latent(skeleton, decoder(), other).bodies(step)
    np.testing.assert_array_equal(same.joints, after.joints)
