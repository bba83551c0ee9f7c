"""The network that tells standing feet: trained on the bodies that HuMoR predicts, after it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from engines.priors.motion.contact import NUM_FEATURES, contact_features
from engines.priors.motion.layout import CONTACTS
from trainer.priors.humor_data import MotionData
from trainer.priors.humor_network import HumorNetwork
from trainer.priors.humor_state import state_of, step_between, stepped, world_joints

_HIDDEN = 32
_EPOCHS = 8
_BATCH = 512


def fit_contacts(
    network: HumorNetwork, data: MotionData, count: int, seed: int
) -> dict[str, Float[np.ndarray, "..."]]:
    """Train on expected bodies and on those that the encoder knows of, half each.

    Args:
        network: the trained networks.
        data: of the training subjects.
        count: steps that are drawn.
        seed: of everything random.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    starts = rng.choice(data.windows(3), count)
    frames, contact = data.take(starts, 3, rng.random(count) < 0.5)
    informed = torch.from_numpy(rng.random(count) < 0.5)
    with torch.no_grad():
        state = state_of(network.rest, frames.at(0), frames.at(1))
        x = network.standardised(state)
        encoded = network.encode(x, step_between(frames.at(1), frames.at(2))).mean
        z = torch.where(informed[:, None], encoded, network.prior(x).mean)
        after = stepped(frames.at(1), network.decode(state, x, z)[0])
        bodies = (frames.at(0), frames.at(1), after)
        feet = torch.stack([world_joints(network.rest, b)[:, list(CONTACTS)] for b in bodies], 1)
    features = torch.from_numpy(contact_features(feet.numpy()))
    layers = _fit(features, contact[:, 2])
    arrays = {}
    for i, layer in enumerate(layers):
        arrays[f"contact.{i}.weight"] = layer.weight.detach().numpy()
        arrays[f"contact.{i}.bias"] = layer.bias.detach().numpy()
    return arrays


def _fit(features: Float[Tensor, "N 16"], target: Float[Tensor, "N 4"]) -> tuple[nn.Linear, ...]:
    first, second = nn.Linear(NUM_FEATURES, _HIDDEN), nn.Linear(_HIDDEN, len(CONTACTS))
    optimiser = torch.optim.AdamW([*first.parameters(), *second.parameters()], 3e-3)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(features)).split(_BATCH):
            logits = second(functional.silu(first(features[rows])))
            loss = functional.binary_cross_entropy_with_logits(logits, target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return first, second
