r"""MHEntropy: a flow whose entropy is part of the objective (Chen, Yang and Yao, ICCV 2023).

The flow $q(\theta \mid I)$ over bodies minimises the divergence from the posterior under visible 2D
joints $x$ and a prior,

$$\mathrm{KL}(q \,\|\, p) = \mathbb{E}_q[-\log p(x \mid \theta) - \log p(\theta) + \log q(\theta
\mid I)] + \text{const},$$

whose terms are reprojection, prior and negative entropy, estimated from reparameterised samples.
The volume of this flow depends on the image, so the gradient of the entropy reaches the encoder.
With 3D ground truth the likelihood of the true body is added, and the distance of the flow's centre
(z = 0), which users read as the best estimate, to the true joints.
"""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Loss2DConfig, Losses, Method, Priors, Samples, Supervision
from trainer.model.bodies import BodySamples
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM, Context, FlowConfig, PoseFlow
from trainer.model.losses import joint_distance, likelihood_loss, negative_entropy, visibility_loss


@dataclass(frozen=True)
class MHEntropyConfig:
    """Sizes and loss weights; all losses are per image."""

    flow: FlowConfig = field(default_factory=FlowConfig)
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    samples: int = 3
    """BodySamples drawn per image, besides the centre."""
    entropy: float = 1.0
    """Weight of the negative entropy within the KL divergence; 1 is the divergence itself."""
    visible: float = 4.0
    """Weight of the cross-entropy of each joint's visibility."""
    center_2d: float = 1.0
    """Weight under `2d-vis`: 2D loss of the flow's centre."""
    likelihood: float = 1.0
    """Weight under `3d`: negative log likelihood of the true body."""
    kl: float = 0.1
    """Weight under `3d`: the KL divergence."""
    center: float = 40.0
    """Weight under `3d`: mean joint distance of the flow's centre, metres."""


class MHEntropy(Method):
    """A `PoseFlow` and its objective."""

    def __init__(
        self,
        supervision: Supervision,
        priors: Priors,
        config: MHEntropyConfig,
        encoder: EncoderConfig,
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.flow = PoseFlow(config.flow, encoder)

    def prepare(self, batch: Batch) -> None:
        """Standardise the flow's coordinates: by true bodies under `3d`, else by the prior's."""
        supervised = self.supervision == "3d"
        self.flow.standardise(batch.bodies() if supervised else self.priors.sample(batch.size))

    def forward(
        self, batch: Batch, rng: StepRng, supervision: Supervision | None = None
    ) -> tuple[Tensor, Losses]:
        """Compute the objective of a batch.

        Args:
            batch: B images with their labels.
            rng: random numbers of this step.
            supervision: given where this batch has fewer labels than the run. Its `visible` then
                says which landmarks supervise, not which joints can be seen, so no visibility is
                learnt from it.

        Returns:
            The total, and the parts before their weights.
        """
        config = self.config
        context = self.flow.encode(batch.features)
        z = rng.normal(batch.size, 1 + config.samples, DIM)
        z[:, 0] = 0.0
        bodies, log_q = self.flow.sample(context, z)
        joints = self.priors.joints(batch, bodies)

        samples = bodies.at(slice(1, None))
        loss_2d, losses = self.priors.loss_2d(batch, samples, joints[:, 1:], config.loss_2d)
        losses["negative_entropy"] = negative_entropy(log_q[:, 1:]).mean()
        losses["visible"] = visibility_loss(context.visible_logits, batch.visible).mean()
        kl = loss_2d + config.entropy * losses["negative_entropy"]
        # A weight of zero, not a missing term: distributed training wants every output in the loss.
        visible = (config.visible if supervision is None else 0.0) * losses["visible"]

        if (supervision or self.supervision) == "2d-vis":
            losses["center"] = self._center_2d(batch, bodies, joints)
            return kl + config.center_2d * losses["center"] + visible, losses
        losses["likelihood"] = self._likelihood(batch, context)
        losses["center"] = joint_distance(joints[:, 0], batch.joints).mean()
        total = (
            config.likelihood * losses["likelihood"]
            + config.kl * kl
            + config.center * losses["center"]
            + visible
        )
        return total, losses

    def _center_2d(
        self, batch: Batch, bodies: BodySamples, joints: Float[Tensor, "B S 24 3"]
    ) -> Float[Tensor, ""]:
        return self.priors.loss_2d(batch, bodies.at(0), joints[:, :1], self.config.loss_2d)[0]

    def _likelihood(self, batch: Batch, context: Context) -> Float[Tensor, ""]:
        return likelihood_loss(self.flow.log_prob(context, batch.bodies())[:, 0]).mean()

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Draw `count` bodies per image; number 0 is the flow's centre."""
        z = rng.normal(batch.size, count, DIM)
        z[:, 0] = 0.0
        bodies, log_q = self.flow.sample(self.flow.encode(batch.features), z)
        return Samples(bodies, log_q)

    def log_prob(self, batch: Batch) -> Float[Tensor, "B"]:
        """Exact log density of the true bodies, both branches of the orientation included."""
        return self.flow.log_prob(self.flow.encode(batch.features), batch.bodies())[:, 0]
