r"""Each loss as a pure function of samples; the methods' configurations hold the weights.

MHEntropy (Chen, Yang and Yao, ICCV 2023) minimises KL(q(θ|I) || p(θ|I)) with p(θ|I) proportional to
p(θ) p(2D | θ), the 2D term only over visible joints. That gives three terms: `reprojection_loss`,
the prior (`pose_prior_loss`, `shape_prior_loss`) and `negative_entropy`. With 3D ground truth
`likelihood_loss` is added. All of these are nats per image.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def reprojection_loss(
    projected: Float[Tensor, "B S J 2"],
    target: Float[Tensor, "B J 2"],
    visible: Float[Tensor, "B J"],
    scale: float,
) -> Float[Tensor, "B"]:
    """Negative log likelihood of the visible 2D joints under Laplace noise, mean over the samples.

    Args:
        projected: samples' joints in units of half the person's size.
        target: labelled joints, in the same units.
        visible: 1 where visible. An occluded joint has a uniform density, which has no gradient
            and is left out.
        scale: Laplace b in the same units (0.03 is about 3 px of a 256 px crop).
    """
    log_p = (projected - target[:, None]).abs() / scale + math.log(2 * scale)
    return (log_p.sum(-1) * visible[:, None]).sum(-1).mean(-1)


def negative_entropy(log_q: Float[Tensor, "B S"]) -> Float[Tensor, "B"]:
    """Monte Carlo estimate of E[log q] from reparameterised samples of q itself."""
    return log_q.mean(-1)


def pose_prior_loss(log_p: Float[Tensor, "B S"]) -> Float[Tensor, "B"]:
    """Negative log prior of the samples' body poses."""
    return -log_p.mean(-1)


def shape_prior_loss(betas: Float[Tensor, "B S 10"]) -> Float[Tensor, "B"]:
    """Negative log of the standard normal that betas follow by construction."""
    return (0.5 * betas.square() + 0.5 * math.log(2 * math.pi)).sum(-1).mean(-1)


def likelihood_loss(log_q: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Negative log density of the true body."""
    return -log_q


def joint_distance(
    joints: Float[Tensor, "B J 3"], target: Float[Tensor, "B J 3"]
) -> Float[Tensor, "B"]:
    """Mean distance over joints with pelvises aligned, metres (MPJPE)."""
    error = (joints - joints[:, :1]) - (target - target[:, :1])
    return (error.square().sum(-1) + 1e-8).sqrt().mean(-1)


def visibility_loss(
    logits: Float[Tensor, "B J"], visible: Float[Tensor, "B J"]
) -> Float[Tensor, "B"]:
    """Binary cross-entropy, mean over joints."""
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, visible, reduction="none"
    ).mean(-1)
