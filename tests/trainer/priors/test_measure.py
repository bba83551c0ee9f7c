"""The measures of priors."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from engines.rotations import exp_so3, geodesic_angle
from trainer.priors.measure import auroc, one_joint_perturbed, perturbed
from trainer.priors.samples import UNMEASURED


def test_auroc_is_scikit_learns_with_ties() -> None:
    rng = np.random.default_rng(0)
    real, other = rng.integers(0, 10, 200) / 2.0, rng.integers(3, 14, 300) / 2.0
    labels = np.repeat([0, 1], [len(real), len(other)])
    expected = roc_auc_score(labels, np.concatenate([real, other]))
    assert auroc(real, other) == pytest.approx(expected, abs=1e-12)


def test_perturbation_turns_the_measured_joints() -> None:
    rng = np.random.default_rng(0)
    R = exp_so3(rng.normal(0, 0.3, (50, 24, 3)))
    angle = geodesic_angle(R, perturbed(R, 0.3, rng))
    still = [0, *UNMEASURED]
    assert np.abs(angle[:, still]).max() < 1e-6
    np.testing.assert_allclose(np.delete(angle, still, axis=1), 0.3, atol=1e-6)
    one = geodesic_angle(R, one_joint_perturbed(R, 0.3, rng)) > 0.1
    assert (one.sum(1) == 1).all()
    assert len(np.unique(one.argmax(1))) > 10
