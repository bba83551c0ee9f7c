"""Several bodies a picture, one by one: score each by the evidence, pick some of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer import losses
from trainer.bodies import Bodies
from trainer.data import Pairs
from trainer.methods.method import EvidenceConfig, Known


def evidence_of_each(
    known: Known, batch: Pairs, bodies: Bodies, joints: Float[Tensor, "B S 24 3"], config: EvidenceConfig
) -> Float[Tensor, "B S"]:
    """-log p(visible 2D | body) - log p(body), nats; `Known.evidence` is its mean."""
    log_p = known.prior.log_prob(bodies.y[..., 1:, :])

    def one(which: slice) -> Float[Tensor, "B"]:
        prior = losses.pose_prior(log_p[:, which]) + losses.shape_prior(bodies.betas[:, which])
        return known.reprojection(batch, joints[:, which], config) + config.prior * prior

    return torch.stack([one(slice(s, s + 1)) for s in range(joints.shape[1])], -1)


def pick(bodies: Bodies, index: Int[Tensor, "B N"]) -> Bodies:
    """N of the bodies of each picture, by number."""
    rows = torch.arange(len(index), device=index.device)[:, None]
    return Bodies(*(part[rows, index] for part in bodies))
