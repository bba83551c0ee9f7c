r"""A flow along the tree of joints: each joint's rotation given those above it, as a small flow on
$SO(3)$ (HuManiFlow, Sengupta et al., CVPR 2023).

$$q(R_{1..23}, \beta \mid I) = q(\beta \mid I) \prod_k q(R_k \mid R_{\text{above } k}, \beta, I)$$

The shape is a diagonal Gaussian; global orientation and camera are regressed, the same for all
hypotheses. A joint's flow works in $\mathbb{R}^3$: noise, two conditional couplings (a
rational-quadratic spline, Durkan et al. 2019, then scale and shift), the radial tanh and the
exponential map of `trainer.model.so3`. Its ball has radius $\pi$ (the original: $1.5 \pi$), so
every rotation has one pre-image and the density is exact. The original walks through 23 joints one
by one; here all joints at the same depth of the tree go together, each with its own weights, and
the shape enters besides the rotations above, so that most of the work is done once per image.

Tensors inside the flow have the joint first: (n joints, M = B S bodies, numbers).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS
from trainer.model import so3
from trainer.model.bodies import BodySamples, rotmat_from_6d
from trainer.model.encoder import Encoder, EncoderConfig
from trainer.model.flow import log_standard_normal

JOINTS = NUM_JOINTS - 1
DIM = NUM_BETAS + 3 * JOINTS
REST = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""No rotation, in 6D."""


def _above(joint: int) -> list[int]:
    """Body joints above one, its parent first; both counted from 0 below the root."""
    parent = PARENTS[joint + 1] - 1
    return [] if parent < 0 else [parent, *_above(parent)]


ABOVE = tuple(_above(k) for k in range(JOINTS))
DEEPEST = max(map(len, ABOVE))
_DEPTH = [len(above) for above in ABOVE]
assert sorted(_DEPTH) == _DEPTH, "joints of one depth must be neighbours"
LEVELS = tuple(
    slice(_DEPTH.index(d), _DEPTH.index(d) + _DEPTH.count(d)) for d in range(DEEPEST + 1)
)
ALL = slice(0, JOINTS)


@dataclass(frozen=True)
class TreeFlowConfig:
    """Sizes of the joints' flows, the original's."""

    shared: int = 256
    context: int = 64
    hidden: int = 32
    couplings: int = 2
    bins: int = 8
    bound: float = 5.0
    """The spline bends inside [-bound, bound], in standard deviations of the joint's
    coordinates.
    """


class ImageContext(NamedTuple):
    """What an image says, computed once for all its hypotheses."""

    shared: Float[Tensor, "23 B C"]
    """What each joint takes from the image, its orientation and camera included."""
    root: Float[Tensor, "B 3 3"]
    camera: Float[Tensor, "B 3"]
    betas: Float[Tensor, "B 10"]
    log_std: Float[Tensor, "B 10"]


class PerJoint(nn.Module):
    """A linear layer for each joint."""

    def __init__(self, inputs: int, outputs: int, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(JOINTS, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(JOINTS, 1, outputs))

    def forward(self, u: Float[Tensor, "n M I"], joints: slice) -> Float[Tensor, "n M O"]:
        """Apply the layers of some joints; where `u` is shorter than the weights, what it lacks
        counts as zero.
        """
        return torch.baddbmm(self.bias[joints], u, self.weight[joints, : u.shape[-1]])


class SplineCoupling(nn.Module):
    """One of three numbers bends, scales and shifts the other two."""

    def __init__(self, config: TreeFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.first = PerJoint(1 + config.context, config.hidden)
        self.second = PerJoint(config.hidden, config.hidden)
        self.last = PerJoint(config.hidden, 2 * (3 * config.bins + 1), zero=True)

    def forward(
        self, u: Float[Tensor, "n M 3"], context: Tensor, joints: slice
    ) -> tuple[Tensor, Tensor]:
        """Towards coordinates; also the log volume."""
        kept, moved = u.roll(1, -1).split([1, 2], -1)
        spline, log_scale, shift = self._bend(kept, context, joints)
        bent, log_slope = spline.call_and_ladj(moved)
        return torch.cat([kept, bent * log_scale.exp() + shift], -1), (log_slope + log_scale).sum(
            -1
        )

    def inverse(
        self, u: Float[Tensor, "n M 3"], context: Tensor, joints: slice
    ) -> tuple[Tensor, Tensor]:
        """Towards noise; also the log volume of `forward` there."""
        kept, moved = u.split([1, 2], -1)
        spline, log_scale, shift = self._bend(kept, context, joints)
        straight = cast(Tensor, spline.inv((moved - shift) * (-log_scale).exp()))
        _, log_slope = spline.call_and_ladj(straight)
        return torch.cat([kept, straight], -1).roll(-1, -1), (log_slope + log_scale).sum(-1)

    def _bend(
        self, kept: Float[Tensor, "n M 1"], context: Float[Tensor, "n M C"], joints: slice
    ) -> tuple[MonotonicRQSTransform, Tensor, Tensor]:
        h = nn.functional.elu(self.first(torch.cat([kept, context], -1), joints))
        h = nn.functional.elu(self.second(h, joints))
        bins = self.config.bins
        widths, heights, slopes, raw, shift = (
            self.last(h, joints).unflatten(-1, (2, -1)).split([bins, bins, bins - 1, 1, 1], -1)
        )
        spline = MonotonicRQSTransform(widths, heights, slopes, bound=self.config.bound)
        return spline, 4.0 * torch.tanh(raw[..., 0] / 4.0), shift[..., 0]


class TreeFlow(nn.Module):
    """q(pose, shape | image), and the regressed orientation and camera."""

    mean: Tensor
    std: Tensor
    radius: Tensor
    above: Tensor
    has_above: Tensor

    def __init__(self, config: TreeFlowConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.heads = nn.Linear(encoder.width, 6 + 3 + 2 * NUM_BETAS)
        with torch.no_grad():
            self.heads.weight.mul_(0.02)
            self.heads.bias.zero_()[:6] = torch.tensor(REST)
        self.from_image = nn.Linear(encoder.width + 9 + 3, config.shared)
        self.from_shared = nn.Linear(config.shared, JOINTS * config.context)
        self.from_body = PerJoint(NUM_BETAS + 9 * DEEPEST, config.context)
        self.couplings = nn.ModuleList(SplineCoupling(config) for _ in range(config.couplings))
        self.register_buffer("mean", torch.zeros(JOINTS, 3))
        self.register_buffer("std", torch.ones(JOINTS, 3))
        self.register_buffer("radius", torch.tensor(math.pi))
        padded = torch.tensor([above + [0] * (DEEPEST - len(above)) for above in ABOVE])
        self.register_buffer("above", padded, persistent=False)
        there = torch.arange(DEEPEST) < torch.tensor(_DEPTH)[:, None]
        self.register_buffer("has_above", there[..., None, None], persistent=False)

    def encode(self, features: Float[Tensor, "B F"]) -> ImageContext:
        """What the features of a batch of images say."""
        h = self.encoder(features)
        rot6d, camera, betas, raw = self.heads(h).split([6, 3, NUM_BETAS, NUM_BETAS], -1)
        camera = torch.cat([camera[:, :2], 3.0 * torch.tanh(camera[:, 2:] / 3.0)], -1)
        root = rotmat_from_6d(rot6d)
        shared = nn.functional.elu(self.from_image(torch.cat([h, root.flatten(-2), camera], -1)))
        taken = self.from_shared(shared).unflatten(-1, (JOINTS, -1)).transpose(0, 1)
        return ImageContext(taken, root, camera, betas, 4.0 * torch.tanh(raw / 4.0))

    @torch.no_grad()
    def standardise(self, pose: Float[Tensor, "N 23 3"]) -> None:
        """Take mean and spread of the joints' coordinates from a sample of poses."""
        x = so3.radial_atanh(pose.to(self.mean), self.radius)
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-2))

    def sample(
        self, image: ImageContext, z: Float[Tensor, "B S 79"]
    ) -> tuple[BodySamples, Float[Tensor, "B S"]]:
        """Map noise to bodies, from the root outwards, and give their log density as `log_prob`
        does.
        """
        count = z.shape[1]
        betas = image.betas[:, None] + image.log_std[:, None].exp() * z[..., :NUM_BETAS]
        u = z[..., NUM_BETAS:].unflatten(-1, (JOINTS, 3)).flatten(0, 1).transpose(0, 1)
        coordinates: list[Tensor] = []
        volumes: list[Tensor] = []
        rotations = u.new_zeros(0, u.shape[1], 9)
        for depth, joints in enumerate(LEVELS):
            context = self._context(image, betas, rotations[self.above[joints, :depth]], joints)
            v = u[joints]
            for coupling in self._couplings():
                v, volume = coupling(v, context, joints)
                volumes.append(volume)
            x = v * self.std[joints, None] + self.mean[joints, None]
            coordinates.append(x)
            rotations = torch.cat([rotations, so3.exp(so3.radial_tanh(x, self.radius)).flatten(-2)])
        x = torch.cat(coordinates)
        y = so3.radial_tanh(x, self.radius)
        volume = (torch.cat(volumes).sum(0) + self._log_volume(x, y).sum(0)).unflatten(
            0, (-1, count)
        )
        root = so3.log(image.root)[:, None, None].expand(-1, count, -1, -1)
        pose = torch.cat([root, y.transpose(0, 1).unflatten(0, (-1, count))], -2)
        bodies = BodySamples(pose, betas, image.camera[:, None].expand(-1, count, -1))
        return bodies, log_standard_normal(z) - image.log_std.sum(-1, keepdim=True) - volume

    def log_prob(self, image: ImageContext, bodies: BodySamples) -> Float[Tensor, "B S"]:
        """Exact log density of the 23 rotations (Haar measure) and betas; all joints at once.

        Orientation and camera have no density here: those of `bodies` are ignored, the
        regressed ones are used.
        """
        count = bodies.betas.shape[1]
        y = bodies.rotvec[..., 1:, :].flatten(0, 1).transpose(0, 1)
        rotations = so3.exp(y).flatten(-2)
        # (23, deepest, M, 9); joints with fewer above them have zeros there, which add nothing.
        above = rotations[self.above] * self.has_above
        context = self._context(image, bodies.betas, above, ALL)
        x = so3.radial_atanh(y, self.radius)
        v, log_det = (x - self.mean[:, None]) / self.std[:, None], -self._log_volume(x, y)
        for coupling in reversed(self._couplings()):
            v, volume = coupling.inverse(v, context, ALL)
            log_det = log_det - volume
        pose = (log_standard_normal(v) + log_det).sum(0).unflatten(0, (-1, count))
        noise = (bodies.betas - image.betas[:, None]) * (-image.log_std[:, None]).exp()
        return pose + log_standard_normal(noise) - image.log_std.sum(-1, keepdim=True)

    def _log_volume(
        self, x: Float[Tensor, "23 M 3"], y: Float[Tensor, "23 M 3"]
    ) -> Float[Tensor, "23 M"]:
        """Log volume of the map from standardised coordinates to rotations."""
        stretch = self.std.log().sum(-1, keepdim=True)
        return stretch + so3.radial_tanh_log_det(x, self.radius) + so3.exp_log_det(y)

    def _context(
        self,
        image: ImageContext,
        betas: Float[Tensor, "B S 10"],
        above: Float[Tensor, "n A M 9"],
        joints: slice,
    ) -> Float[Tensor, "n M C"]:
        """What some joints' flows are told: the image, the shape and the rotations above them."""
        shape = betas.flatten(0, 1).expand(len(above), -1, -1)
        body = self.from_body(torch.cat([shape, above.transpose(1, 2).flatten(-2)], -1), joints)
        both = body.unflatten(1, betas.shape[:2]) + image.shared[joints, :, None]
        return nn.functional.elu(both).flatten(1, 2)

    def _couplings(self) -> list[SplineCoupling]:
        return [cast(SplineCoupling, layer) for layer in self.couplings]
