"""HuManiFlow (Sengupta et al., CVPR 2023): the flow along the tree of joints, and its objective."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Loss2DConfig, Losses, Method, Priors, Samples, Supervision
from trainer.model import so3
from trainer.model.encoder import EncoderConfig
from trainer.model.losses import likelihood_loss
from trainer.model.tree_flow import DIM, TreeFlow, TreeFlowConfig


@dataclass(frozen=True)
class HuManiFlowConfig:
    """Weights, all per image."""

    flow: TreeFlowConfig = field(default_factory=TreeFlowConfig)
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    samples: int = 3
    """Bodies drawn per image, besides the point estimate; the original draws 8."""
    likelihood: float = 1.0
    """Under `3d`: of pose and shape."""
    reprojection: float = 0.2
    """Under `3d`: of the reprojection of point estimate and samples; about the original's ratio for
    errors of 12 px.
    """
    orientation: float = 85.0
    """Under `3d`: of the squared Frobenius distance of the global rotation: the original's ratio to
    the likelihood.
    """
    camera: float = 20.0
    """Under `3d`: of the squared distance of the camera numbers."""


class HuManiFlow(Method):
    """The flow along the tree and its objective."""

    def __init__(
        self,
        supervision: Supervision,
        priors: Priors,
        config: HuManiFlowConfig,
        encoder: EncoderConfig,
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.flow = TreeFlow(config.flow, encoder)

    def prepare(self, batch: Batch) -> None:
        """Take the scales of the joints' coordinates: from true poses under `3d`, else from the
        pose prior.
        """
        if self.supervision == "3d":
            self.flow.standardise(batch.rotvec[:, 1:])
        else:
            generator = torch.Generator().manual_seed(0)
            self.flow.standardise(self.priors.prior.sample(batch.size, generator))

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """Reprojection of point estimate and samples, with priors under `2d-vis` and the likelihood
        under `3d`.
        """
        config = self.config
        image = self.flow.encode(batch.features)
        z = rng.normal(batch.size, 1 + config.samples, DIM)
        z[:, 0] = 0.0
        bodies, _ = self.flow.sample(image, z)
        joints = self.priors.joints(batch, bodies)
        if self.supervision == "2d-vis":
            return self.priors.loss_2d(batch, bodies, joints, config.loss_2d)
        R_true = so3.exp(batch.rotvec[:, 0])
        losses = Losses(
            reprojection=self.priors.reprojection(batch, joints, config.loss_2d).mean(),
            likelihood=likelihood_loss(self.flow.log_prob(image, batch.bodies())[:, 0]).mean(),
            orientation=(image.root - R_true).square().sum((-1, -2)).mean(),
            camera=(image.camera - batch.camera).square().sum(-1).mean(),
        )
        total = (
            config.likelihood * losses["likelihood"] + config.reprojection * losses["reprojection"]
        )
        return total + config.orientation * losses["orientation"] + config.camera * losses[
            "camera"
        ], losses

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Noise through the flow; number 0 is zeros pushed through, each joint given the others'
        point estimate.

        The density is that of the 23 body rotations and betas; orientation and camera are the same
        for all hypotheses and add nothing to it. So it ranks the hypotheses of one image, but
        does not compare with methods that doubt those too, and for the same reason this method has
        no `log_prob` of whole bodies.
        """
        z = rng.normal(batch.size, count, DIM)
        z[:, 0] = 0.0
        bodies, log_q = self.flow.sample(self.flow.encode(batch.features), z)
        return Samples(bodies, log_q)
