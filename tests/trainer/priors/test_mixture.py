"""The fit of the mixture."""

import numpy as np
import pytest

from engines.types import JOINT_NAMES
from trainer.priors.mixture import MixtureConfig, fit_mixture
from trainer.priors.samples import distinct_poses

JOINT = {name: index - 1 for index, name in enumerate(JOINT_NAMES)}


def test_fit_recovers_what_it_was_given() -> None:
    rng = np.random.default_rng(0)
    poses = np.zeros((4000, 23, 3))
    poses[:, JOINT["head"], 0] = rng.normal(0.4, 0.2, 4000)
    config = MixtureConfig(components=1, smooth_rad=0.05, unmeasured_rad=0.1)
    mixture = fit_mixture(poses, config)
    variance = np.diagonal(mixture.covariances[0]).reshape(23, 3)
    mean = mixture.means[0].reshape(23, 3)
    assert float(mean[JOINT["head"], 0]) == pytest.approx(0.4, abs=0.02)
    assert float(variance[JOINT["head"], 0]) == pytest.approx(0.2**2 + 0.05**2, rel=0.1)
    assert float(variance[JOINT["left_knee"], 0]) == pytest.approx(0.05**2, rel=0.1)
    assert float(variance[JOINT["left_collar"], 0]) == pytest.approx(0.1**2, rel=0.1)


def test_standing_still_counts_once() -> None:
    poses = np.zeros((100, 23, 3))
    poses[50:, 4, 0] = 1.0
    clip = np.repeat([0, 1], [80, 20])
    assert len(distinct_poses(poses, clip, 0.3)) == 3  # still, moved, and again in the second clip
