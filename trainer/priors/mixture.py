"""The mixture: EM on poses and their mirror images.

Each covariance is widened after the fit by the square of `smooth_rad`, and by that of
`unmeasured_rad` for the joints that never move in the recordings (collars, hands).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.priors.mixture import Mixture
from trainer.priors.samples import UNMEASURED, PoseSamples, mirrored

COVARIANCE_FLOOR = 1e-4
"""Smallest eigenvalue of a covariance, rad^2, even of a perfectly stiff joint."""


@dataclass(frozen=True)
class MixtureConfig:
    """How a mixture is fitted."""

    components: int = 8
    smooth_rad: float = 0.05
    """Standard deviation added to every coordinate: the recorded skeleton's knees are pure hinges,
    those of people are not."""
    unmeasured_rad: float = 0.1
    """Standard deviation of joints that the recordings do not measure."""


def train_mixture(
    config: MixtureConfig, samples: PoseSamples, seed: int
) -> tuple[Mixture, dict[str, Any]]:
    """Fit to the training subjects; compare with a single component on all splits."""
    train = samples.splits["train"]
    mixture = fit_mixture(train, config, seed)
    single = fit_mixture(train, replace(config, components=1), seed)

    def nats(one: Mixture) -> dict[str, float]:
        return {
            split: round(float(one.log_density(poses.astype(np.float32)).mean()), 2)
            for split, poses in samples.splits.items()
        }

    return mixture, {
        "log_density_nats": nats(mixture),
        "log_density_of_one_component_nats": nats(single),
    }


def fit_mixture(
    poses: Float[np.ndarray, "N 23 3"], config: MixtureConfig, seed: int = 0
) -> Mixture:
    """Fit by EM to poses and their mirror images."""
    from sklearn.mixture import GaussianMixture  # slow to import, and only fitting needs it

    both = np.concatenate([poses, mirrored(poses)]).reshape(2 * len(poses), -1)
    mixture = GaussianMixture(
        config.components, reg_covar=COVARIANCE_FLOOR, random_state=seed, max_iter=200
    )
    mixture.fit(both)
    added = np.full((poses.shape[1], 3), config.smooth_rad**2)
    added[[joint - 1 for joint in UNMEASURED]] = config.unmeasured_rad**2
    covariances = mixture.covariances_ + np.diag(added.ravel())
    weights, means = np.asarray(mixture.weights_), np.asarray(mixture.means_)
    return Mixture.of({"weights": weights, "means": means, "covariances": covariances})
