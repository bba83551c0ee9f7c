"""3D Multi-bodies (Biggs et al., NeurIPS 2020): M regressed bodies, of which the best learns from
the true body.

Head 0 is the mode: it always learns too. All heads are kept at the visible joints and near the pose
prior, where the original has a flow that is learnt besides them. Under `2d-vis`, which it does not
know, the 2D labels says which is best. Choosing n < M of the heads by clustering (the quantised
hypotheses of its tables) is left to who evaluates.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.hmr import Regressor
from trainer.methods.method import (
    Loss2DConfig,
    Loss3DConfig,
    Losses,
    Method,
    Priors,
    Samples,
    Supervision,
)
from trainer.model.bodies import BODY_DIM, BodySamples
from trainer.model.encoder import EncoderConfig


@dataclass(frozen=True)
class MultiBodiesConfig:
    """Sizes and weights."""

    heads: int = 25
    """M."""
    apart: float = 0.1
    """Standard deviation of the heads' random starts about the T-pose: without it the first winner
    wins for ever.
    """
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    loss_3d: Loss3DConfig = field(default_factory=Loss3DConfig)
    """Loss of the best head and of head 0 each; `reprojection` is of all heads."""
    best: float = 1.0
    """Weight of the best head beside head 0."""
    prior: float = 0.01
    """Under `3d`: of the pose and the shape prior of all heads."""


class MultiBodies(Method):
    """M regressed bodies; the hypotheses are these."""

    def __init__(
        self,
        supervision: Supervision,
        priors: Priors,
        config: MultiBodiesConfig,
        encoder: EncoderConfig,
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.regressor = Regressor(encoder, config.heads)
        with torch.no_grad():
            later = self.regressor.head.bias[BODY_DIM:]
            later.add_(config.apart * torch.randn_like(later))

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """The best head's loss, head 0's, and what all heads are held to."""
        config = self.config
        bodies = self.regressor(batch)
        joints = self.priors.joints(batch, bodies)
        all_heads, losses = self.priors.loss_2d(batch, bodies, joints, config.loss_2d)
        best = self.one(batch, bodies, joints, self.winner(batch, bodies, joints))
        mode = self.one(
            batch, bodies, joints, torch.zeros_like(batch.half_size[:, None], dtype=torch.long)
        )
        losses |= {"best": best, "mode": mode}
        total = config.best * best + mode
        if self.supervision == "2d-vis":
            return total + all_heads, losses
        prior = losses["pose_prior"] + losses["shape_prior"]
        return total + config.loss_3d.reprojection * losses[
            "reprojection"
        ] + config.prior * prior, losses

    @torch.no_grad()
    def winner(
        self, batch: Batch, bodies: BodySamples, joints: Float[Tensor, "B M 24 3"]
    ) -> Int[Tensor, "B 1"]:
        """Which head is nearest to the true joints, pelvises together; under `2d-vis` which
        explains the 2D labels best.
        """
        if self.supervision == "2d-vis":
            error = self.priors.loss_2d_per_body(batch, bodies, joints, self.config.loss_2d)
        else:
            offset = (joints - joints[:, :, :1]) - (batch.joints - batch.joints[:, :1])[:, None]
            error = offset.norm(dim=-1).mean(-1)
        return error.argmin(-1, keepdim=True)

    def one(
        self,
        batch: Batch,
        bodies: BodySamples,
        joints: Float[Tensor, "B M 24 3"],
        index: Int[Tensor, "B 1"],
    ) -> Float[Tensor, ""]:
        """Loss of one head per image; no other has a gradient from it."""
        chosen = bodies.pick(index)
        its_joints = torch.take_along_dim(joints, index[..., None, None], 1)
        if self.supervision == "2d-vis":
            return self.priors.loss_2d(batch, chosen, its_joints, self.config.loss_2d)[0]
        return self.priors.loss_3d(batch, chosen, its_joints, self.config.loss_3d)[0]

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Head 0, then the others in their order; more than M are the same ones again."""
        index = torch.arange(count, device=batch.half_size.device) % self.config.heads
        return Samples(BodySamples(*(part[:, index] for part in self.regressor(batch))), None)
