r"""How likely a body pose is: a Gaussian mixture over the 23 joint rotations below the root.

    python -m trainer.pose_prior --poses runs/poses.npz

The mixture lives in axis-angle coordinates $y \in \mathbb{R}^{69}$. As a density of rotations,
against the Haar measure on
$SO(3)^{23}$ with total $8\pi^2$ per joint, it is

$$\log p(R) = \log \sum_c w_c\, \mathcal{N}(y; \mu_c, \Sigma_c) - \sum_k \log\frac{2 -
2\cos\theta_k}{\theta_k^2}, \qquad \theta_k = \|y_k\|.$$

It is evaluated on the branch of the logarithm that is passed in, as are the flow's samples; hardly
any pose of the recordings comes near half a turn, where the branches meet. Each covariance is
widened after the fit by the square of `smooth_rad`, and by that of `unmeasured_rad` for the joints
that never move in the recordings (collars, hands).
"""

import json
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from trainer.command import start
from trainer.model import so3
from trainer.motion.anatomy import mirror_pose
from trainer.motion.poses import SPLITS, Poses

ASSET = Path(__file__).parent / "assets" / "pose_prior.safetensors"
COVARIANCE_FLOOR = 1e-4
"""Smallest eigenvalue of a covariance, rad^2: even a perfectly stiff joint is not known better than
this.
"""
_LOG_2_PI = math.log(2 * math.pi)
_UNMEASURED = tuple(
    i - 1 for i, name in enumerate(JOINT_NAMES) if name.split("_")[-1] in ("collar", "hand")
)


@dataclass(frozen=True)
class PosePrior:
    """A mixture of C Gaussians over 69 axis-angle coordinates."""

    log_weights: Float[Tensor, "C"]
    means: Float[Tensor, "C 69"]
    whitening: Float[Tensor, "C 69 69"]
    """L^-1 where the covariance is L L^T."""
    log_det: Float[Tensor, "C"]
    """log |det L^-1|"""

    @staticmethod
    def load(path: str | Path | None = None) -> "PosePrior":
        """Reads a fitted prior; the shipped one where `path` is None.

        Raises:
            PenumbraError: the file is missing.
        """
        path = Path(path) if path is not None else ASSET
        if not path.is_file():
            raise PenumbraError(
                f"there is no pose prior '{path}'; make one with python -m trainer.pose_prior"
            )
        tensors = load_file(path)
        return PosePrior.from_moments(tensors["weights"], tensors["means"], tensors["covariances"])

    @staticmethod
    def from_moments(
        weights: Float[Tensor, "C"],
        means: Float[Tensor, "C 69"],
        covariances: Float[Tensor, "C 69 69"],
    ) -> "PosePrior":
        """From the usual parameters of a mixture; the result is float32, the inversion is done in
        float64.
        """
        cholesky = torch.linalg.cholesky(covariances.double())
        eye = torch.eye(cholesky.shape[-1], dtype=torch.float64).expand_as(cholesky)
        whitening = torch.linalg.solve_triangular(cholesky, eye, upper=False)
        log_det = whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return PosePrior(
            weights.double().log().float(), means.float(), whitening.float(), log_det.float()
        )

    def to(self, target: torch.device | str | torch.dtype) -> "PosePrior":
        """The same prior on a device, or in a floating-point type."""
        fields = (self.log_weights, self.means, self.whitening, self.log_det)
        return PosePrior(*(tensor.to(target) for tensor in fields))

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "N 23 3"]:
        """Draw poses as rotation vectors."""
        component = torch.multinomial(
            self.log_weights.exp().cpu(), count, replacement=True, generator=generator
        )
        noise = torch.randn(count, 69, 1, generator=generator)
        moved = torch.linalg.solve_triangular(self.whitening.cpu()[component], noise, upper=False)[
            ..., 0
        ]
        return (self.means.cpu()[component] + moved).unflatten(-1, (23, 3))

    def log_prob_axis_angle(self, rotvec: Float[Tensor, "*B 23 3"]) -> Float[Tensor, "*B"]:
        """Log density of the coordinates themselves, with respect to d^69 y."""
        y = rotvec.flatten(-2)
        # L^-1 (y - mu) as one product for all components, without an array of differences for each.
        white = torch.einsum("cij,...j->...ci", self.whitening, y)
        white = white - torch.einsum("cij,cj->ci", self.whitening, self.means)
        log_normal = self.log_det - 0.5 * (white.square().sum(-1) + y.shape[-1] * _LOG_2_PI)
        return torch.logsumexp(self.log_weights + log_normal, -1)

    def log_prob(self, rotvec: Float[Tensor, "*B 23 3"]) -> Float[Tensor, "*B"]:
        """Log density of the rotations with respect to the Haar measure; differentiable, also at
        zero.

        Args:
            rotvec: SMPL's `body_pose`, axis-angle, radians; every vector shorter than 2 pi.
        """
        return self.log_prob_axis_angle(rotvec) - so3.exp_log_det(rotvec).sum(-1)


@dataclass(frozen=True)
class PriorConfig:
    """Fit the pose prior to the training split."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path = ASSET
    components: int = 12
    step_rad: float = 0.3
    """Take a frame of a clip only when some joint has turned by this much since the last one
    taken.
    """
    smooth_rad: float = 0.05
    """Standard deviation added to every coordinate: the recorded skeleton has pure hinges for
    knees, people have not.
    """
    unmeasured_rad: float = 0.1
    """Standard deviation of joints that the recordings do not measure."""
    seed: int = 0


def distinct_poses(
    poses: Float[np.ndarray, "N 23 3"], clip: np.ndarray, step_rad: float
) -> Float[np.ndarray, "M 23 3"]:
    """Drops frames that are almost the same as the last one kept of their clip, so that standing
    still does not count.
    """
    kept: list[int] = []
    for i in range(len(poses)):
        new_clip = not kept or clip[i] != clip[kept[-1]]
        if new_clip or np.linalg.norm(poses[i] - poses[kept[-1]], axis=-1).max() > step_rad:
            kept.append(i)
    return poses[kept]


def fit(poses: Float[np.ndarray, "N 23 3"], config: PriorConfig) -> dict[str, Tensor]:
    """Fits the mixture by EM, with the mirror images of the poses, and returns weights, means and
    covariances.
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
    """Nats per pose, Haar measure."""
    return float(prior.log_prob(torch.from_numpy(poses.astype(np.float32))).mean())


def main(config: PriorConfig) -> None:
    """Fits, compares with a single Gaussian on the other splits, and writes the prior with its
    record.
    """
    poses = Poses.load(config.poses)
    recorded = {split: poses.of(split) for split in SPLITS}
    sets = {
        split: distinct_poses(rotvec[:, 1:], clip, config.step_rad)
        for split, (rotvec, clip) in recorded.items()
    }
    moments = fit(sets["train"], config)
    single = fit(sets["train"], replace(config, components=1))
    prior, gaussian = PosePrior.from_moments(**moments), PosePrior.from_moments(**single)
    record: dict[str, Any] = {
        "what": "Gaussian mixture over SMPL body pose, axis-angle; nats per pose against the Haar measure",
        "command": "python -m trainer.pose_prior " + " ".join(sys.argv[1:]),
        "config": {
            key: value.name if isinstance(value, Path) else value
            for key, value in asdict(config).items()
        },
        "data": "CMU Graphics Lab motion capture, split by subject. The data used in this project was obtained from "
        "mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217.",
        "poses": {name: len(poses) for name, poses in sets.items()},
        "log_likelihood": {
            name: round(mean_log_prob(prior, poses), 2) for name, poses in sets.items()
        },
        "log_likelihood_single_gaussian": {
            name: round(mean_log_prob(gaussian, poses), 2) for name, poses in sets.items()
        },
    }
    config.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(moments, config.out)
    config.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    start(main, PriorConfig)
