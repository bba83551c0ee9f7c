"""Fit the gravity network, and measure how far it errs."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engines.gravity.direction import log_direction, tangent_basis
from engines.gravity.network import GravityNetwork
from trainer.gravity.network import TrainedNetwork, likelihood_loss, rolled, squared_distance
from trainer.gravity.samples import GravitySamples

LEVELS = (0.5, 0.9, 0.95)


@dataclass(frozen=True)
class GravityTraining:
    """The network and its training."""

    hidden: tuple[int, ...] = (128, 64)
    epochs: int = 15
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    noise: float = 0.05
    """Standard deviation of what is added to the standardised features."""
    tails: float = 5.0
    """Degrees of freedom of the likelihood, Student's t."""
    rolled: float = 0.5
    """Share of cameras that are rolled in addition."""


def fit(
    train: GravitySamples, val: GravitySamples, config: GravityTraining, seed: int
) -> tuple[TrainedNetwork, float, list[float]]:
    """Train on samples and their mirror images; keep the epoch that is best on validation.

    Returns:
        The network; the factor on its standard deviations that makes the 90 % ellipses of the
        validation samples hold 90 %; and the validation loss of every epoch, nats.
    """
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    both = (train, train.mirrored())
    features = torch.from_numpy(np.concatenate([part.features() for part in both]))
    up = torch.from_numpy(np.concatenate([part.up_in_root() for part in both]))
    network = TrainedNetwork(features, config.hidden)
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    steps = config.epochs * (len(features) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, steps)
    held_out = (torch.from_numpy(val.features()), torch.from_numpy(val.up_in_root()))
    best, losses = copy.deepcopy(network), [math.inf]
    for _ in range(config.epochs):
        order = torch.randperm(len(features), generator=rng)
        for rows in order.split(config.batch):
            if len(rows) < config.batch:
                continue
            x = rolled(features[rows], config.rolled, rng)
            x = x + config.noise * network.std * torch.randn(x.shape, generator=rng)
            optimiser.zero_grad()
            _loss(network, x, up[rows], config.tails).backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            loss = float(_loss(network, *held_out, config.tails))
        if loss < min(losses):
            best = copy.deepcopy(network)
        losses.append(loss)
    return best.requires_grad_(False), _scale(best, *held_out), losses[1:]


def _loss(
    network: TrainedNetwork, features: Float[Tensor, "N F"], up: Float[Tensor, "N 3"], tails: float
) -> Float[Tensor, ""]:
    vector, L = network(features)
    return likelihood_loss(vector, L, up, tails).mean()


def _scale(
    network: TrainedNetwork, features: Float[Tensor, "N F"], up: Float[Tensor, "N 3"]
) -> float:
    with torch.no_grad():
        vector, L = network(features)
        squared, _ = squared_distance(vector, L, up)
    return math.sqrt(float(squared.quantile(0.9)) / radius(0.9))


def radius(level: float) -> float:
    """The squared radius of the ellipse that holds a share `level`: chi-square, 2 degrees."""
    return -2.0 * math.log1p(-level)


def metrics(network: GravityNetwork, samples: GravitySamples) -> dict[str, object]:
    """How far the network errs, what it says of that, and how far two simple guesses err."""
    up = samples.up_in_root().astype(float)
    vector, cov = network.predict(samples.features())
    away = log_direction(vector, up)
    B = tangent_basis(vector)
    flat = np.einsum("nia,ni->na", B, away)
    cov = np.einsum("nia,nij,njb->nab", B, cov, B)
    squared = np.einsum("na,na->n", flat, np.linalg.solve(cov, flat[..., None])[..., 0])
    predicted = np.degrees(np.sqrt(np.trace(cov, axis1=-2, axis2=-1)))
    error = np.degrees(np.linalg.norm(away, axis=-1))
    order = np.array_split(np.argsort(predicted), 5)
    return {
        "samples": len(error),
        "error_deg": _summary(error),
        "coverage": {str(level): _share(squared <= radius(level)) for level in LEVELS},
        "by_predicted_sigma": [
            {
                "predicted_deg": round(float(np.sqrt((predicted[rows] ** 2).mean())), 2),
                "rms_deg": round(float(np.sqrt((error[rows] ** 2).mean())), 2),
                "median_deg": round(float(np.median(error[rows])), 2),
            }
            for rows in order
        ],
        "upright_camera_error_deg": _summary(_angle(-samples.R_cam_root[:, 1], up)),
        "upright_pelvis_error_deg": _summary(_angle(np.array([0.0, 1.0, 0.0]), up)),
    }


def _angle(guess: np.ndarray, up: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    return np.degrees(np.arccos(((guess * up).sum(-1)).clip(-1, 1)))


def _summary(error_deg: Float[np.ndarray, "N"]) -> dict[str, float]:
    return {
        "median": round(float(np.median(error_deg)), 2),
        "mean": round(float(error_deg.mean()), 2),
        "p90": round(float(np.quantile(error_deg, 0.9)), 2),
    }


def _share(inside: np.ndarray) -> float:
    return round(float(inside.mean()), 3)
