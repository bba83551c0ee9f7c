"""What is measured of generated bodies, on bodies of which it is known."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.flow.sampler import skeleton_of
from engines.priors.load import load_prior
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES
from trainer.experiments.generation import generate, measure
from trainer.experiments.page import CELL, page

ELBOW = JOINT_NAMES.index("left_elbow")


class Nothing:
    """A judge that likes whatever is not turned."""

    def energy(self, R: np.ndarray) -> np.ndarray:
        return 3.0 - np.trace(R[:, 1:], axis1=-2, axis2=-1).mean(-1)


def poses(angle: float, count: int = 6) -> np.ndarray:
    rotvec = np.zeros((count, 24, 3))
    rotvec[:, ELBOW, 1] = angle * np.arange(1, count + 1) / count
    rotvec[:, JOINT_NAMES.index("right_elbow"), 1] = 0.5
    return exp_so3(rotvec).astype(np.float32)


def test_equal_bodies_have_no_diversity_and_elbows_a_direction(body: BodyModel) -> None:
    skeleton, rng = skeleton_of(body), np.random.default_rng(0)
    real = poses(-1.0, 100)
    same = measure(np.repeat(poses(-1.0)[:1], 5, 0), skeleton, Nothing(), real, rng)
    other = measure(poses(-2.0), skeleton, Nothing(), real, rng)
    bent_back = measure(poses(2.0), skeleton, Nothing(), real, rng)
    assert same.diversity_cm == pytest.approx(0.0, abs=1e-4) and other.diversity_cm > 0.5
    assert other.within_limits == 1.0 and bent_back.within_limits < 0.2
    assert same.plausible == 1.0 and other.plausible < 0.7


def test_a_mixture_generates_and_a_page_shows_it(body: BodyModel) -> None:
    R = generate(load_prior("gmm"), 3, np.random.default_rng(1))
    assert R.shape == (3, 24, 3, 3)
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.eye(3) + 0 * R, atol=1e-5)
    picture = page(body, {"GMM": R, "again": R})
    assert picture.shape[1] == 3 * CELL[0]
    cells = [picture[28 : 28 + CELL[1], i * CELL[0] : (i + 1) * CELL[0]] for i in range(3)]
    covered = [(np.ptp(cell.astype(int), axis=-1) > 8).mean() for cell in cells]
    assert all(0.03 < share < 0.6 for share in covered)
