"""MHEntropy: a flow whose entropy is part of the objective (Chen, Yang and Yao, ICCV 2023).

It minimises KL(q(body | picture) || p(body | visible 2D)) with three terms: reprojection of the
visible joints, prior, negative entropy. Our flow lives on rotations and its volume depends on the
picture, so the entropy's gradient reaches the encoder. With 3D truth its likelihood is added, and
the flow's centre, which users read as best estimate, is drawn to the truth.
"""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import EvidenceConfig, Losses, Method, Priors, Samples, Supervision
from trainer.model import losses
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM, FlowConfig, PoseFlow


@dataclass(frozen=True)
class MHEntropyConfig:
    """Weights, all per picture."""

    flow: FlowConfig = field(default_factory=FlowConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    samples: int = 3
    """Bodies drawn a picture."""
    entropy: float = 1.0
    """Of the negative entropy beside reprojection and prior: the theory says 1."""
    visible: float = 4.0
    """Of the cross-entropy of each joint's visibility."""
    center_evidence: float = 1.0
    """Under `2d-vis`: of reprojection and prior of the flow's centre."""
    likelihood: float = 1.0
    """Under `3d`."""
    beside: float = 0.1
    """Under `3d`: of the three MHEntropy terms together, beside the likelihood."""
    center: float = 40.0
    """Under `3d`: of the flow's centre, per metre of mean joint distance."""


class MHEntropy(Method):
    """`PoseFlow` and its objective."""

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

    def prepare(self, some: Batch) -> None:
        """Take the scales of the flow's coordinates: from true bodies under `3d`, else from the
        pose prior.
        """
        bodies = some.bodies() if self.supervision == "3d" else self.priors.prior_bodies(some.size)
        self.flow.standardise(bodies)

    def forward(
        self, batch: Batch, rng: StepRng, supervision: Supervision | None = None
    ) -> tuple[Tensor, Losses]:
        """The objective of a batch.

        Args:
            batch: pictures with what is known about them.
            rng: of this step.
            supervision: given where this batch has less truth than the others. What such a batch
                calls visible is what supervises, not what can be seen, so the visibility is not
                learnt from it.
        """
        config = self.config
        context = self.flow.encode(batch.features)
        z = rng.normal(batch.size, 1 + config.samples, DIM)
        z[:, 0] = 0.0
        bodies, log_q = self.flow.sample(context, z)
        joints = self.priors.joints(batch, bodies)
        drawn = bodies.at(slice(1, None))
        evidence, terms = self.priors.evidence(batch, drawn, joints[:, 1:], config.evidence)
        terms["negative_entropy"] = losses.negative_entropy(log_q[:, 1:]).mean()
        terms["visible"] = losses.visibility(context.visible_logits, batch.visible).mean()
        kl = evidence + config.entropy * terms["negative_entropy"]
        total = (config.visible if supervision is None else 0.0) * terms["visible"]
        if (supervision or self.supervision) == "2d-vis":
            center, _ = self.priors.evidence(batch, bodies.at(0), joints[:, :1], config.evidence)
            terms["center"] = center
            return total + kl + config.center_evidence * center, terms
        terms["likelihood"] = losses.likelihood(
            self.flow.log_prob(context, batch.bodies())[:, 0]
        ).mean()
        terms["center"] = losses.joint_distance(joints[:, 0], batch.joints).mean()
        total = (
            total
            + config.likelihood * terms["likelihood"]
            + config.beside * kl
            + config.center * terms["center"]
        )
        return total, terms

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Noise through the flow; number 0 is its centre."""
        z = rng.normal(batch.size, count, DIM)
        z[:, 0] = 0.0
        bodies, log_q = self.flow.sample(self.flow.encode(batch.features), z)
        return Samples(bodies, log_q)

    def log_prob(self, batch: Batch) -> Float[Tensor, "B"]:
        """Exact, both branches of the orientation included."""
        return self.flow.log_prob(self.flow.encode(batch.features), batch.bodies())[:, 0]
