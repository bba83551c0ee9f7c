"""What a method is: a posterior over bodies that can be drawn from, and the loss that trains it.

Every method is given the same encoder, the same body, the same prior and the same pairs. Under `3d`
the true body of every picture may be used; under `2d-vis` only where visible joints lie in the
picture, and priors.
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
from trainer.model import losses, so3
from trainer.model.bodies import Bodies
from trainer.model.kinematics import Skeleton, project, view_joints
from trainer.model.pose_prior import PosePrior

Supervision = Literal["2d-vis", "3d"]


class Losses(dict[str, Tensor]):
    """Named parts of the loss, before their weights, for the log."""


class Samples(NamedTuple):
    """N hypotheses for each of B pictures; number 0 is the method's own best estimate."""

    bodies: Bodies
    log_q: Float[Tensor, "B N"] | None
    """Log density against the Haar measure, betas and camera; None where the method has none."""


@dataclass(frozen=True)
class EvidenceConfig:
    """What visible 2D and priors weigh, all in nats a picture."""

    laplace_scale: float = 0.03
    """b of the Laplace noise of a visible 2D joint, in units of half the person's size (about 3 px
    of the 256 px crop).
    """
    prior: float = 1.0
    """Of the pose and the shape prior."""


@dataclass(frozen=True)
class TruthConfig:
    """What distances to the true body weigh, for methods whose estimate is a point."""

    joints: float = 40.0
    """Per metre of mean joint distance, pelvises together."""
    rotations: float = 5.0
    """Of the squared Frobenius distance, mean over joints."""
    betas: float = 0.5
    """Of the squared distance, mean over coefficients."""
    reprojection: float = 0.1
    """Of the visible 2D term, beside the others."""


class Priors(nn.Module):
    """What everybody knows beforehand: the skeleton and how likely poses are. Nothing of it is
    learnt or stored.
    """

    J_template: Tensor
    J_shapedirs: Tensor

    def __init__(self, body: BodyModel, prior: PosePrior) -> None:
        super().__init__()
        self.register_buffer(
            "J_template", torch.tensor(body.J_template, dtype=torch.float32), persistent=False
        )
        self.register_buffer(
            "J_shapedirs", torch.tensor(body.J_shapedirs, dtype=torch.float32), persistent=False
        )
        self._prior = prior

    @property
    def skeleton(self) -> Skeleton:
        """The joints-only part of the body."""
        return Skeleton(self.J_template, self.J_shapedirs)

    @property
    def prior(self) -> PosePrior:
        """Of body poses."""
        return self._prior.to(self.J_template.device)

    def prior_bodies(self, count: int) -> Bodies:
        """(count, 1) bodies as they are expected before any picture: poses from the prior,
        orientation about the anchor.
        """
        generator = torch.Generator().manual_seed(0)
        y = self.prior.sample(count, generator)
        root = 0.5 * torch.randn(count, 1, 3, generator=generator)
        betas, camera = (torch.randn(count, 1, n, generator=generator) for n in (10, 3))
        return Bodies(torch.cat([root, y], 1)[:, None], betas, 0.3 * camera)

    def joints(self, batch: Batch, bodies: Bodies) -> Float[Tensor, "B S 24 3"]:
        """Joints in the view, metres."""
        return view_joints(self.skeleton, batch.R_anchor, batch.half_size, bodies)

    def reprojection(
        self, batch: Batch, joints: Float[Tensor, "B S 24 3"], config: EvidenceConfig
    ) -> Float[Tensor, "B"]:
        """Negative log likelihood of the visible 2D joints, mean over the bodies."""
        return losses.reprojection(
            project(joints, batch.half_size), batch.target, batch.visible, config.laplace_scale
        )

    def evidence(
        self,
        batch: Batch,
        bodies: Bodies,
        joints: Float[Tensor, "B S 24 3"],
        config: EvidenceConfig,
    ) -> tuple[Tensor, Losses]:
        """All that `2d-vis` knows about bodies: -log p(visible 2D | body) - log p(body), batch
        mean, and its parts.
        """
        terms = Losses(
            reprojection=self.reprojection(batch, joints, config).mean(),
            pose_prior=losses.pose_prior(self.prior.log_prob(bodies.rotvec[..., 1:, :])).mean(),
            shape_prior=losses.shape_prior(bodies.betas).mean(),
        )
        return terms["reprojection"] + config.prior * (
            terms["pose_prior"] + terms["shape_prior"]
        ), terms

    def evidence_of_each(
        self,
        batch: Batch,
        bodies: Bodies,
        joints: Float[Tensor, "B S 24 3"],
        config: EvidenceConfig,
    ) -> Float[Tensor, "B S"]:
        """-log p(visible 2D | body) - log p(body) of every body, nats; `evidence` is its mean."""
        log_p = self.prior.log_prob(bodies.rotvec[..., 1:, :])

        def one(which: slice) -> Float[Tensor, "B"]:
            prior = losses.pose_prior(log_p[:, which]) + losses.shape_prior(bodies.betas[:, which])
            return self.reprojection(batch, joints[:, which], config) + config.prior * prior

        return torch.stack([one(slice(s, s + 1)) for s in range(joints.shape[1])], -1)

    def truth(
        self, batch: Batch, bodies: Bodies, joints: Float[Tensor, "B 1 24 3"], config: TruthConfig
    ) -> tuple[Tensor, Losses]:
        """Distances of one body a picture to the true one, batch mean, and their parts."""
        R, R_true = so3.exp(bodies.rotvec[:, 0]), so3.exp(batch.rotvec)
        terms = Losses(
            joints=losses.joint_distance(joints[:, 0], batch.joints).mean(),
            rotations=(R - R_true).square().sum((-1, -2)).mean(),
            betas=(bodies.betas[:, 0] - batch.betas).square().mean(),
        )
        camera = (bodies.camera[:, 0] - batch.camera).square().sum(-1).mean()
        total = (
            config.joints * terms["joints"]
            + config.rotations * terms["rotations"]
            + config.betas * terms["betas"]
        )
        return total + camera, terms


class Method(nn.Module, ABC):
    """Calling it gives the loss of a batch, so that an engine for many processes can wrap it."""

    def __init__(self, supervision: Supervision, priors: Priors) -> None:
        super().__init__()
        self.supervision = supervision
        self.priors = priors

    @abstractmethod
    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """The loss, and its parts for the log."""

    @abstractmethod
    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """`count` hypotheses a picture; looks at `features` and `map` only (and the view they are
        given in).
        """

    def log_prob(self, batch: Batch) -> Float[Tensor, "B"] | None:
        """Log density of the true bodies, as `Samples.log_q`; None where the method has none."""
        return None

    def prepare(self, some: Batch) -> None:
        """See some training pairs before the first step, for scales. Under `2d-vis` their 3D truth
        must not be used.
        """
