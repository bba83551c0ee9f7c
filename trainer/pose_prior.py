"""Fit the pose prior, a Gaussian mixture over joint rotations, to the training poses.

    python -m trainer.pose_prior --poses runs/poses.npz

Each covariance is widened after the fit by the square of `smooth_rad`, and by that of
`unmeasured_rad` for the joints that never move in the recordings (collars, hands).
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from engines.types import JOINT_NAMES
from trainer.command import start
from trainer.model.pose_prior import ASSET, PosePrior
from trainer.motion.anatomy import mirror_pose
from trainer.motion.poses import SPLITS, Poses

COVARIANCE_FLOOR = 1e-4
"""Smallest eigenvalue of a covariance, rad^2, even of a perfectly stiff joint."""
_UNMEASURED = tuple(
    i - 1 for i, name in enumerate(JOINT_NAMES) if name.split("_")[-1] in ("collar", "hand")
)


@dataclass(frozen=True)
class PriorConfig:
    """Fit the pose prior to the training split."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path = ASSET
    components: int = 12
    step_rad: float = 0.3
    """Take a frame of a clip only when some joint has turned by this much since the last one."""
    smooth_rad: float = 0.05
    """Standard deviation added to every coordinate: the recorded skeleton's knees are pure hinges,
    those of people are not.
    """
    unmeasured_rad: float = 0.1
    """Standard deviation of joints that the recordings do not measure."""
    seed: int = 0


def distinct_poses(
    poses: Float[np.ndarray, "N 23 3"], clip: np.ndarray, step_rad: float
) -> Float[np.ndarray, "M 23 3"]:
    """Drop frames almost equal to the last one kept of their clip, so that a pause counts once."""
    kept: list[int] = []
    for i in range(len(poses)):
        new_clip = not kept or clip[i] != clip[kept[-1]]
        if new_clip or np.linalg.norm(poses[i] - poses[kept[-1]], axis=-1).max() > step_rad:
            kept.append(i)
    return poses[kept]


def fit(poses: Float[np.ndarray, "N 23 3"], config: PriorConfig) -> dict[str, Tensor]:
    """Fit the mixture by EM to the poses and their mirror images.

    Returns:
        The arguments of `PosePrior.from_moments`, by name.
    """
    from sklearn.mixture import GaussianMixture  # slow to import, and only fitting needs it

    both = np.concatenate([poses, _mirrored(poses)]).reshape(2 * len(poses), -1)
    mixture = GaussianMixture(
        config.components, reg_covar=COVARIANCE_FLOOR, random_state=config.seed, max_iter=200
    )
    mixture.fit(both)
    added = np.full((poses.shape[1], 3), config.smooth_rad**2)
    added[list(_UNMEASURED)] = config.unmeasured_rad**2
    covariances = mixture.covariances_ + np.diag(added.ravel())
    moments = {"weights": mixture.weights_, "means": mixture.means_, "covariances": covariances}
    return {
        key: torch.from_numpy(np.ascontiguousarray(value, np.float32))
        for key, value in moments.items()
    }


def _mirrored(poses: Float[np.ndarray, "N 23 3"]) -> Float[np.ndarray, "N 23 3"]:
    whole = np.concatenate([np.zeros_like(poses[:, :1]), poses], axis=1)
    return mirror_pose(whole)[:, 1:]


def mean_log_prob(prior: PosePrior, poses: Float[np.ndarray, "N 23 3"]) -> float:
    """Mean log density of poses, nats, against the Haar measure."""
    return float(prior.log_prob(torch.from_numpy(poses.astype(np.float32))).mean())


def main(config: PriorConfig) -> None:
    """Fit, compare with a single Gaussian on the other splits, write the prior and its record."""
    poses = Poses.load(config.poses)
    recorded = {split: poses.of(split) for split in SPLITS}
    sets = {
        split: distinct_poses(rotvec[:, 1:], clip, config.step_rad)
        for split, (rotvec, clip) in recorded.items()
    }
    moments = fit(sets["train"], config)
    prior = PosePrior.from_moments(**moments)
    gaussian = PosePrior.from_moments(**fit(sets["train"], replace(config, components=1)))
    record = _record(config, sets, prior, gaussian)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(moments, config.out)
    config.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _record(
    config: PriorConfig, sets: dict[str, np.ndarray], prior: PosePrior, gaussian: PosePrior
) -> dict[str, Any]:
    """Say how the prior was made and how well it fits each split."""
    settings = {
        key: value.name if isinstance(value, Path) else value
        for key, value in asdict(config).items()
    }
    return {
        "what": "Gaussian mixture over SMPL body pose, axis-angle; nats per pose against the Haar "
        "measure",
        "command": "python -m trainer.pose_prior " + " ".join(sys.argv[1:]),
        "config": settings,
        "data": "CMU Graphics Lab motion capture, split by subject. The data used in this project "
        "was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF "
        "EIA-0196217.",
        "poses": {name: len(poses) for name, poses in sets.items()},
        "log_likelihood": {
            name: round(mean_log_prob(prior, poses), 2) for name, poses in sets.items()
        },
        "log_likelihood_single_gaussian": {
            name: round(mean_log_prob(gaussian, poses), 2) for name, poses in sets.items()
        },
    }


if __name__ == "__main__":
    start(main, PriorConfig)
