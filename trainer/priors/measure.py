"""What is measured of every kind of prior: whether it tells real poses from perturbed ones."""

import numpy as np
from jaxtyping import Float

from engines.fitting.charts import Decoder
from engines.priors.prior import PosePrior
from engines.priors.turns import ARTICULATED
from engines.rotations import exp_so3, geodesic_angle
from engines.types import NUM_JOINTS
from trainer.priors.samples import UNMEASURED, with_root

PERTURBATION_RAD = 0.3
_BATCH = 1000


def perturbed(
    R: Float[np.ndarray, "N 24 3 3"], angle: float, rng: np.random.Generator
) -> Float[np.ndarray, "N 24 3 3"]:
    """Turn every joint that the recordings measure by an angle about a random axis."""
    axis = rng.standard_normal((len(R), NUM_JOINTS, 3))
    turn = angle * axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    turn[:, [0, *UNMEASURED]] = 0.0
    return R @ exp_so3(turn.astype(R.dtype))


def one_joint_perturbed(
    R: Float[np.ndarray, "N 24 3 3"], angle: float, rng: np.random.Generator
) -> Float[np.ndarray, "N 24 3 3"]:
    """Turn one measured joint of each pose, drawn at random, about a random axis."""
    measured = [joint for joint in range(1, NUM_JOINTS) if joint not in UNMEASURED]
    joint = rng.choice(measured, len(R))
    which = np.arange(len(R))
    out = R.copy()
    out[which, joint] = perturbed(R, angle, rng)[which, joint]
    return out


def energies(prior: PosePrior, R: Float[np.ndarray, "N 24 3 3"]) -> Float[np.ndarray, "N"]:
    """Return the energies of many poses, some at a time."""
    return np.concatenate([prior.energy(R[i : i + _BATCH]) for i in range(0, len(R), _BATCH)])


def auroc(real: Float[np.ndarray, "N"], other: Float[np.ndarray, "M"]) -> float:
    """Return the probability that a real pose has less energy than another one, ties half.

    Mann and Whitney's U over N M.
    """
    order = np.sort(real)
    below = np.searchsorted(order, other, "left")
    not_above = np.searchsorted(order, other, "right")
    return float((below + not_above).mean() / (2 * len(real)))


def metrics(
    prior: PosePrior, poses: Float[np.ndarray, "N 23 3"], seed: int = 0
) -> dict[str, object]:
    """Measure a prior on real poses.

    Returns:
        `auroc_0.3rad`: of the energy, real poses against the same with each measured joint turned
        by 0.3 rad about a random axis; `auroc_one_joint_0.3rad`: with a single joint turned;
        energies: nats, the median of the real and of the perturbed poses.
    """
    rng = np.random.default_rng(seed)
    R = exp_so3(with_root(poses).astype(np.float32))
    real = energies(prior, R)
    all_joints = energies(prior, perturbed(R, PERTURBATION_RAD, rng))
    one_joint = energies(prior, one_joint_perturbed(R, PERTURBATION_RAD, rng))
    return {
        "poses": len(R),
        f"auroc_{PERTURBATION_RAD}rad": round(auroc(real, all_joints), 4),
        f"auroc_one_joint_{PERTURBATION_RAD}rad": round(auroc(real, one_joint), 4),
        "median_energy": round(float(np.median(real)), 2),
        "median_energy_perturbed": round(float(np.median(all_joints)), 2),
    }


def reconstruction(prior: Decoder, poses: Float[np.ndarray, "N 23 3"]) -> dict[str, float]:
    """Return how far decode(encode) turns the joints that a prior knows, degrees."""
    R = exp_so3(with_root(poses).astype(np.float32))
    decoded = [prior.decode(prior.encode(R[i : i + _BATCH])[0]) for i in range(0, len(R), _BATCH)]
    known = list(ARTICULATED)
    angle = np.degrees(geodesic_angle(R[:, known], np.concatenate(decoded)[:, known]))
    return {
        "mean_deg": round(float(angle.mean()), 2),
        "p95_deg": round(float(np.quantile(angle, 0.95)), 2),
    }
