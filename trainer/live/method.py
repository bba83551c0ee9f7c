"""The live flow's objective, and the flow as a method that can be scored like any other."""

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.live.config import LossWeights
from trainer.methods.method import Losses, Method, Priors, Samples
from trainer.model import so3
from trainer.model.anchored_flow import AnchoredFlow, AnchoredFlowConfig, in_view, relative_to
from trainer.model.flow import DIM
from trainer.model.kinematics import project
from trainer.model.losses import likelihood_loss, visibility_loss
from trainer.model.quaternion_kinematics import view_joints_of_one
from trainer.synthetic.projection import LIMBS


class LiveMethod(Method):
    """An `AnchoredFlow` and its objective, for batches with features `landmarks_2d`.

    The `R_anchor` of such batches is the identity: orientations of labels and of what is drawn are
    relative to the view, whatever the flow's own anchors are.
    """

    def __init__(
        self, priors: Priors, config: AnchoredFlowConfig, weights: LossWeights | None = None
    ) -> None:
        super().__init__("3d", priors)
        self.flow = AnchoredFlow(config)
        self.weights = weights or LossWeights()

    def prepare(self, batch: Batch) -> None:
        """Standardise the flow's coordinates by true bodies."""
        self.flow.standardise(batch.bodies())

    def forward(self, batch: Batch, rng: StepRng | None = None) -> tuple[Tensor, Losses]:
        """Compute the objective of a batch, and its parts before their weights.

        The likelihood leaves out the second branch of orientations more than a quarter turn off
        the anchor, and is not differentiated by the anchor: that has a loss of its own.
        """
        context = self.flow.encode(batch.features)
        held = context.R_anchor.detach()
        true = relative_to(held, batch.bodies())
        center = self.flow.center(context)
        joints = view_joints_of_one(self.priors.skeleton, held, batch.half_size, center)
        R_true = so3.exp(batch.rotvec[:, 0])
        log_q = self.flow.log_prob(context, true, twins=False)[:, 0]
        losses = Losses(
            likelihood=likelihood_loss(log_q).mean(),
            center=_joint_distance(joints, batch.joints),
            reprojection=_reprojection(joints, batch),
            anchor=(context.R_anchor - R_true).square().sum((-1, -2)).mean(),
            visible=visibility_loss(context.visible_logits, batch.visible).mean(),
        )
        weighted = [getattr(self.weights, name) * value for name, value in losses.items()]
        return torch.stack(weighted).sum(), losses

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Draw `count` bodies per image; number 0 is the flow's centre."""
        z = rng.normal(batch.size, count, DIM)
        z[:, 0] = 0.0
        context = self.flow.encode(batch.features)
        bodies, log_q = self.flow.sample(context, z)
        return Samples(in_view(context.R_anchor, bodies), log_q)

    def log_prob(self, batch: Batch) -> Float[Tensor, "B"]:
        """Exact log density of the true bodies, both branches of the orientation included."""
        context = self.flow.encode(batch.features)
        return self.flow.log_prob(context, relative_to(context.R_anchor, batch.bodies()))[:, 0]


def _joint_distance(
    joints: Float[Tensor, "B 24 3"], target: Float[Tensor, "B 24 3"]
) -> Float[Tensor, ""]:
    """Mean distance, metres, pelvises aligned: of all joints and of the limbs, half and half."""
    away = _length((joints - joints[:, :1]) - (target - target[:, :1]))
    return 0.5 * away.mean() + 0.5 * away[:, LIMBS].mean()


def _reprojection(joints: Float[Tensor, "B 24 3"], batch: Batch) -> Float[Tensor, ""]:
    """Mean distance of visible joints in the image, in half sizes of the person."""
    away = project(joints[:, None], batch.half_size)[:, 0] - batch.target
    return (_length(away) * batch.visible).sum() / batch.visible.sum().clamp_min(1)


def _length(v: Tensor) -> Tensor:
    return (v.square().sum(-1) + 1e-8).sqrt()
