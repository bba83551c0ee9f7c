"""What a method is: a posterior over bodies that can be sampled, and the loss that trains it.

Every method is given the same encoder, body, pose prior and dataset. Supervision is either `3d`,
where the true body of every image may be used, or `2d-vis`, where only visible 2D joints and the
priors may.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.body import BodyModel
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import SkeletonTensors, project, view_joints
from trainer.model.losses import (
    joint_distance,
    pose_prior_loss,
    reprojection_loss,
    shape_prior_loss,
)
from trainer.model.pose_prior import PoseMixture

Supervision = Literal["2d-vis", "3d"]


class Losses(dict[str, Tensor]):
    """Parts of the loss by name, before their weights, for the log."""


class Samples(NamedTuple):
    """N hypotheses for each of B images; number 0 is the method's own best estimate."""

    bodies: BodySamples
    log_q: Float[Tensor, "B N"] | None
    """Log density against the Haar measure, betas and camera; None where the method has none."""


@dataclass(frozen=True)
class Loss2DConfig:
    """Weights of the 2D loss: reprojection of visible joints and the priors, nats per image."""

    laplace_scale: float = 0.03
    """b of the Laplace noise of a visible 2D joint, in units of half the person's size (about 3 px
    of the 256 px crop).
    """
    prior: float = 1.0
    """Weight of the pose and the shape prior."""


@dataclass(frozen=True)
class Loss3DConfig:
    """Weights of the 3D loss: distances to the true body, for methods with a point estimate."""

    joints: float = 40.0
    """Weight of the mean joint distance, pelvises aligned, metres."""
    rotations: float = 5.0
    """Weight of the squared Frobenius distance, mean over joints."""
    betas: float = 0.5
    """Weight of the squared distance, mean over coefficients."""
    reprojection: float = 0.1
    """Weight of the reprojection loss, relative to the 3D loss."""


class Priors(nn.Module):
    """What is known before any image: the skeleton and the prior over poses and shapes.

    Nothing of it is learnt or stored with a method.
    """

    J_template: Tensor
    J_shapedirs: Tensor

    def __init__(self, body: BodyModel, prior: PoseMixture) -> None:
        super().__init__()
        for name in ("J_template", "J_shapedirs"):
            tensor = torch.tensor(getattr(body, name), dtype=torch.float32)
            self.register_buffer(name, tensor, persistent=False)
        self._prior = prior

    @property
    def skeleton(self) -> SkeletonTensors:
        """The joints-only part of the body."""
        return SkeletonTensors(self.J_template, self.J_shapedirs)

    @property
    def prior(self) -> PoseMixture:
        """The prior over body poses."""
        return self._prior.to(self.J_template.device)

    def sample(self, count: int) -> BodySamples:
        """Draw (count, 1) bodies: poses from the prior, orientation about the anchor."""
        generator = torch.Generator().manual_seed(0)
        pose = self.prior.sample(count, generator)
        root = 0.5 * torch.randn(count, 1, 3, generator=generator)
        betas, camera = (torch.randn(count, 1, n, generator=generator) for n in (10, 3))
        return BodySamples(torch.cat([root, pose], 1)[:, None], betas, 0.3 * camera)

    def joints(self, batch: Batch, bodies: BodySamples) -> Float[Tensor, "B S 24 3"]:
        """Joints in the view, metres."""
        return view_joints(self.skeleton, batch.R_anchor, batch.half_size, bodies)

    def reprojection(
        self, batch: Batch, joints: Float[Tensor, "B S 24 3"], config: Loss2DConfig
    ) -> Float[Tensor, "B"]:
        """Negative log likelihood of the visible 2D joints, mean over the bodies."""
        projected = project(joints, batch.half_size)
        return reprojection_loss(projected, batch.target, batch.visible, config.laplace_scale)

    def loss_2d(
        self,
        batch: Batch,
        bodies: BodySamples,
        joints: Float[Tensor, "B S 24 3"],
        config: Loss2DConfig,
    ) -> tuple[Float[Tensor, ""], Losses]:
        """-log p(visible 2D | body) - log p(body), mean over batch and bodies; and its parts."""
        losses = Losses(
            reprojection=self.reprojection(batch, joints, config).mean(),
            pose_prior=pose_prior_loss(self.prior.log_prob(bodies.rotvec[..., 1:, :])).mean(),
            shape_prior=shape_prior_loss(bodies.betas).mean(),
        )
        prior = losses["pose_prior"] + losses["shape_prior"]
        return losses["reprojection"] + config.prior * prior, losses

    def loss_2d_per_body(
        self,
        batch: Batch,
        bodies: BodySamples,
        joints: Float[Tensor, "B S 24 3"],
        config: Loss2DConfig,
    ) -> Float[Tensor, "B S"]:
        """-log p(visible 2D | body) - log p(body) of every body, nats; `loss_2d` is its mean."""
        log_p = self.prior.log_prob(bodies.rotvec[..., 1:, :])

        def one(which: slice) -> Float[Tensor, "B"]:
            prior = pose_prior_loss(log_p[:, which]) + shape_prior_loss(bodies.betas[:, which])
            return self.reprojection(batch, joints[:, which], config) + config.prior * prior

        return torch.stack([one(slice(s, s + 1)) for s in range(joints.shape[1])], -1)

    def loss_3d(
        self,
        batch: Batch,
        bodies: BodySamples,
        joints: Float[Tensor, "B 1 24 3"],
        config: Loss3DConfig,
    ) -> tuple[Float[Tensor, ""], Losses]:
        """Weighted distances of one body per image to the true one, batch mean; and its parts."""
        R = so3.exp(bodies.rotvec[:, 0])
        R_true = so3.exp(batch.rotvec)
        losses = Losses(
            joints=joint_distance(joints[:, 0], batch.joints).mean(),
            rotations=(R - R_true).square().sum((-1, -2)).mean(),
            betas=(bodies.betas[:, 0] - batch.betas).square().mean(),
        )
        camera = (bodies.camera[:, 0] - batch.camera).square().sum(-1).mean()
        total = (
            config.joints * losses["joints"]
            + config.rotations * losses["rotations"]
            + config.betas * losses["betas"]
        )
        return total + camera, losses


class Method(nn.Module, ABC):
    """A module that returns the loss of a batch, so that Fabric can wrap it for many processes."""

    def __init__(self, supervision: Supervision, priors: Priors) -> None:
        super().__init__()
        self.supervision = supervision
        self.priors = priors

    @abstractmethod
    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """Compute the loss, and its parts for the log."""

    @abstractmethod
    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Draw `count` hypotheses per image from its `features` and the view that they are in."""

    def log_prob(self, batch: Batch) -> Float[Tensor, "B"] | None:
        """Log density of the true bodies, as `Samples.log_q`; None where the method has none."""
        return None

    def prepare(self, batch: Batch) -> None:
        """Take scales from training samples before the first step; under `2d-vis` not from 3D."""
