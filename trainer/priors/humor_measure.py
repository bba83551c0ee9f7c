"""What is measured of HuMoR on motion that it was not trained on."""

import numpy as np
from jaxtyping import Float, Int

from engines.fitting.sequences.sequence import BodySequence
from engines.priors.motion.layout import BODY, CONTACTS, FPS, TURNING
from engines.priors.motion.prior import MotionPrior
from engines.priors.motion.state import PelvisFrame, stepped
from engines.rotations import exp_so3
from trainer.priors.humor_data import MotionData
from trainer.priors.humor_start import pairs_of
from trainer.priors.humor_state import state_of, step_between
from trainer.priors.measure import PERTURBATION_RAD, auroc


def measure(
    prior: MotionPrior,
    data: MotionData,
    sole_m: Float[np.ndarray, "4"],
    windows: int = 256,
    seconds: float = 1.0,
    seed: int = 0,
) -> dict[str, object]:
    """Measure one step, a second, contacts, and whether perturbed motion is told from real.

    Args:
        prior: what is measured.
        data: people that it was not trained on.
        sole_m: see `engines.fitting.sequences.floor.FloorContact`.
        windows: how many are rolled out; the energy takes a quarter of them, of twice the length.
        seconds: length of the rollouts.
        seed: of the windows and of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    length = round(seconds * FPS) + 2
    return {
        "frames": len(data.joined),
        "one_step": _one_step(prior, data),
        "second": _rollouts(prior, data, sole_m, rng.choice(data.windows(length), windows), length),
        "energy": _energy(prior, data, max(1, windows // 4), 2 * length, rng),
    }


def _one_step(prior: MotionPrior, data: MotionData) -> dict[str, object]:
    """Errors of the expected next body, beside those of constant velocity, and of contacts."""
    frames, contact = data.take(data.windows(3), 3, None)
    pairs = pairs_of(frames)
    state = state_of(data.rest, frames.at(0), frames.at(1)).double().numpy()
    target = step_between(frames.at(1), frames.at(2)).double().numpy()
    z, _ = prior.network.prior(state)
    predicted = prior.network.decode(state, z)
    joints = _world(prior, *stepped(pairs.R, pairs.pelvis, target))
    errors = {}
    for name, step in (("humor", predicted), ("constant_velocity", pairs.step())):
        off = _world(prior, *stepped(pairs.R, pairs.pelvis, step)) - joints
        errors[name] = {
            "joint_mm": round(1000 * float(np.linalg.norm(off, axis=-1).mean()), 2),
            "turn_rms_rad": round(float(np.sqrt(((step - target)[:, 3:] ** 2).mean())), 4),
        }
    found = prior.contacts_after(pairs, predicted) > 0.5
    real = contact[:, 2].numpy() > 0.5
    contacts = {
        "accuracy": round(float((found == real).mean()), 4),
        "precision": round(float(real[found].mean()), 4),
        "recall": round(float(found[real].mean()), 4),
        "share": round(float(real.mean()), 4),
    }
    return {**errors, "contact": contacts}


def _rollouts(
    prior: MotionPrior,
    data: MotionData,
    sole_m: Float[np.ndarray, "4"],
    starts: Int[np.ndarray, "K"],
    length: int,
) -> dict[str, object]:
    """Rollouts from recorded states and from sampled ones, and the same of the recordings."""
    rng = np.random.default_rng(len(starts))
    frames, _ = data.take(starts, length, None)
    pairs = pairs_of(frames)
    recorded = [data.sequence(int(start), length) for start in starts]
    real = np.stack([one.R for one in recorded]), np.stack([one.pelvis for one in recorded])
    motions = {
        "recorded": real,
        "expected": prior.rollout(pairs, length),
        "sampled": prior.rollout(pairs, length, rng),
        "from_start": prior.sample(len(starts), length, rng),
    }
    real_joints = _world(prior, *real)
    still = real_joints[:, 1:2]
    out: dict[str, object] = {
        "still_joint_mm": round(1000 * float(_distance(still, real_joints)[:, -1].mean()), 1)
    }
    for name, (R, pelvis) in motions.items():
        finite = np.isfinite(R).all() and np.isfinite(pelvis).all()
        joints = _world(prior, R, pelvis)
        soles = (joints[..., list(CONTACTS), 2] - sole_m).min(-1)[:, 2:]
        moved = np.linalg.norm(pelvis[:, -1] - pelvis[:, 1], axis=-1)
        facts: dict[str, object] = {
            "finite": bool(finite),
            "sole_below_5cm": round(float((soles < -0.05).mean()), 4),
            "sole_above_20cm": round(float((soles > 0.2).mean()), 4),
            "moved_m": [round(float(v), 2) for v in np.quantile(moved, (0.5, 0.95, 1.0))],
            "turn_rad_per_frame": round(float(_turning(R)), 4),
        }
        if name in ("expected", "sampled"):
            off = _distance(joints, real_joints)[:, -1].mean()
            facts["joint_mm_at_end"] = round(1000 * float(off), 1)
        out[name] = facts
    return out


def _energy(
    prior: MotionPrior, data: MotionData, count: int, length: int, rng: np.random.Generator
) -> dict[str, object]:
    """Real frames against perturbed ones: every joint turned anew in each frame, or once for all.

    `auroc`: of the frames' energies; `auroc_start`: of the energies of the sequences' beginnings.
    """
    sequences = [data.sequence(int(one), length) for one in rng.choice(data.windows(length), count)]
    real = np.concatenate([prior.energy(one) for one in sequences])
    out: dict[str, object] = {"median_nats": round(float(np.median(real)), 1)}
    for name, frames in (("each_frame", length), ("once", 1)):
        energies, begins = [], []
        for one in sequences:
            other = perturbed(one, PERTURBATION_RAD, frames, rng)
            energies.append(prior.energy(other))
            begins.append((prior.start_energy(one), prior.start_energy(other)))
        out[f"auroc_{PERTURBATION_RAD}rad_{name}"] = round(auroc(real, np.concatenate(energies)), 4)
        first, second = np.array(begins).T
        out[f"auroc_start_{PERTURBATION_RAD}rad_{name}"] = round(auroc(first, second), 4)
    return out


def perturbed(
    sequence: BodySequence, angle: float, draws: int, rng: np.random.Generator
) -> BodySequence:
    """Turn every measured joint by an angle about a random axis.

    Args:
        sequence: of T frames.
        angle: radians.
        draws: T for another axis in each frame, 1 for the same in all.
        rng: draws the axes.
    """
    axis = rng.standard_normal((draws, len(TURNING), 3))
    turn = exp_so3(angle * axis / np.linalg.norm(axis, axis=-1, keepdims=True))
    R = sequence.R.copy()
    R[:, list(TURNING)] = R[:, list(TURNING)] @ turn
    return BodySequence(R, sequence.pelvis, sequence.shared)


def _world(
    prior: MotionPrior, R: Float[np.ndarray, "*B 24 3 3"], pelvis: Float[np.ndarray, "*B 3"]
) -> Float[np.ndarray, "*B 22 3"]:
    """Joints of the trained body in the world, metres."""
    flat = PelvisFrame.of(prior.rest, R.reshape(-1, *R.shape[-3:])).joints
    joints = flat.reshape(*R.shape[:-3], BODY, 3)
    return pelvis[..., None, :] + joints @ R[..., 0, :, :].swapaxes(-1, -2)


def _distance(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "K T"]:
    return np.linalg.norm(a - b, axis=-1).mean(-1)


def _turning(R: Float[np.ndarray, "K T 24 3 3"]) -> float:
    """Root mean square angle that a turning joint turns by in a frame."""
    index = list(TURNING)
    relative = R[:, 1:-1, index].swapaxes(-1, -2) @ R[:, 2:, index]
    cosine = (np.trace(relative, axis1=-2, axis2=-1) - 1.0) / 2.0
    return float(np.sqrt((np.arccos(cosine.clip(-1, 1)) ** 2).mean()))
