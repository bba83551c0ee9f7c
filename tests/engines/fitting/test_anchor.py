"""The anchor of a fit, and what it is conditioned on."""

import numpy as np

from engines.coordinates import DIM
from engines.fitting.anchor import Anchor, holding
from tests.support.fitting_problem import random_anchor


def test_holding_adds_the_information_that_nothing_changed() -> None:
    """In information form: C'^-1 = C^-1 + J^T J / sigma^2."""
    anchor, J = random_anchor(1), np.random.default_rng(2).standard_normal((7, DIM))
    held = holding(anchor, J, 0.3)
    expected = np.linalg.inv(np.linalg.inv(anchor.cov) + J.T @ J / 0.3**2)
    np.testing.assert_allclose(held.cov, expected, atol=1e-9 * np.abs(anchor.cov).max())


def test_what_is_held_changes_no_more_than_its_sigma() -> None:
    anchor, J = random_anchor(3), np.random.default_rng(4).standard_normal((5, DIM))
    assert (np.sqrt(np.diag(J @ anchor.cov @ J.T)) > 0.05).all()
    std = np.sqrt(np.diag(J @ holding(anchor, J, 0.01).cov @ J.T))
    assert (std < 0.01).all()
    sharp = holding(Anchor(anchor.cov.astype(np.float32)), J.astype(np.float32), 1e-4).cov
    assert sharp.dtype == np.float32
    np.testing.assert_array_equal(sharp, sharp.T)
    free = holding(anchor, J, 1e6)
    np.testing.assert_allclose(free.cov, anchor.cov, atol=1e-9)
