"""Quaternions against rotation matrices."""

import numpy as np

from engines.quaternions import product, quaternion, rotvec_of
from engines.rotations import exp_so3


def test_products_are_those_of_rotation_matrices() -> None:
    a, b = np.random.default_rng(0).normal(0, 2, (2, 3, 50))
    turned = rotvec_of(*product(*quaternion(a), *quaternion(b)))
    np.testing.assert_allclose(exp_so3(turned.T), exp_so3(a.T) @ exp_so3(b.T), atol=1e-6)
    assert np.linalg.norm(turned, axis=0).max() <= np.pi + 1e-6


def test_rotation_vectors_return_also_tiny_ones() -> None:
    rng = np.random.default_rng(1)
    rotvec = rng.normal(0, 0.5, (3, 40)) * 10.0 ** -rng.integers(0, 12, 40)
    np.testing.assert_allclose(rotvec_of(*quaternion(rotvec)), rotvec, rtol=2e-6, atol=1e-9)
