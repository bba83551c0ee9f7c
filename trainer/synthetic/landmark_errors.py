"""What a landmark network returns for a known body: positions, visibility and presence with errors.

Position errors are in units of half the person's size, the flow's own unit: one shared by the
image, one per limb and one per landmark, outliers, guesses for what is occluded, and now and then
left taken for right. Visibility and presence depend on whether a landmark is visible, occluded
inside the image or outside it; their tables are measured on rendered people (`trainer.synthesize`)
and on real footage, the position errors are estimates.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.data.augment import MIRRORED_LANDMARKS
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.landmark_sites import KIND
from trainer.synthetic.occlusion import VISIBLE

_FACTOR = {
    "face": 1.2, "shoulder": 0.8, "elbow": 1.0, "wrist": 1.2, "hand": 2.0,
    "hip": 1.0, "knee": 1.1, "ankle": 1.2, "foot": 2.0,
}  # fmt: skip
"""Factor on a landmark's own error."""
_VISIBILITY = {
    "face": ((6.5, 2.5), (4.0, 2.8), (4.0, 2.5)),
    "shoulder": ((7.3, 2.4), (6.0, 2.0), (4.5, 2.3)),
    "elbow": ((3.3, 2.4), (-0.8, 2.3), (-0.8, 2.3)),
    "wrist": ((3.0, 2.4), (-1.7, 2.0), (-1.2, 2.3)),
    "hand": ((2.5, 2.2), (-1.7, 1.8), (-1.2, 2.1)),
    "hip": ((6.5, 2.2), (5.2, 2.6), (-1.0, 4.0)),
    "knee": ((3.7, 2.2), (-0.3, 2.0), (-3.0, 3.0)),
    "ankle": ((3.7, 2.2), (-0.8, 2.0), (-3.5, 3.2)),
    "foot": ((3.0, 2.0), (-0.7, 1.9), (-3.0, 3.0)),
}
"""Mean and standard deviation of the visibility's logit: visible, occluded, outside."""
_PRESENCE = {
    "upper": ((7.0, 2.3), (4.8, 2.6), (1.5, 3.0)),
    "lower": ((7.5, 2.3), (4.0, 3.2), (-3.5, 4.0)),
}
_LOWER = ("hip", "knee", "ankle", "foot")
_ARM, _LEG = ("elbow", "wrist", "hand"), ("knee", "ankle", "foot")
_GROUPS = 7
"""Face, shoulders, hips, and the four limbs: landmarks whose errors have a part in common."""
_ARMS = [i for i, kind in enumerate(KIND) if kind == "shoulder" or kind in _ARM]
_LEGS = [i for i, kind in enumerate(KIND) if kind in _LOWER]


def _group(landmark: int) -> int:
    """Return the group of a landmark; left ones have odd numbers."""
    kind, side = KIND[landmark], landmark % 2
    if kind in _ARM:
        return 2 + side
    if kind in _LEG:
        return 5 + side
    return {"face": 0, "shoulder": 1, "hip": 4}[kind]


class SimulatedLandmarks(NamedTuple):
    """What the network returns for N images."""

    points: Float[Tensor, "33 2 N"]
    visibility: Float[Tensor, "33 N"]
    presence: Float[Tensor, "33 N"]


class ErrorModel:
    """Adds a landmark network's errors to true landmarks."""

    def __init__(self, config: ErrorConfig) -> None:
        """Prepare the tables."""
        self.config = config
        self._factor = torch.tensor([_FACTOR[kind] for kind in KIND])[:, None, None]
        self._group = torch.tensor([_group(landmark) for landmark in range(len(KIND))])
        self._visibility = torch.tensor([_VISIBILITY[kind] for kind in KIND])
        self._presence = torch.tensor(
            [_PRESENCE["lower" if kind in _LOWER else "upper"] for kind in KIND]
        )
        self._mirror = torch.tensor(MIRRORED_LANDMARKS)

    def __call__(
        self,
        flat: Float[Tensor, "33 2 N"],
        state: Int[Tensor, "33 N"],
        half_size: Float[Tensor, "N"],
        rng: torch.Generator,
    ) -> SimulatedLandmarks:
        """Simulate the network.

        Args:
            flat: true positions, any unit.
            state: of each landmark, as `trainer.synthetic.occlusion` has them.
            half_size: half the person's size in the unit of `flat`.
            rng: of this batch.
        """
        points = self._swap(flat + half_size * self._displacement(state, rng), rng)
        visibility = _confidence(self._visibility, state, rng)
        return SimulatedLandmarks(points, visibility, _confidence(self._presence, state, rng))

    def _displacement(
        self, state: Int[Tensor, "33 N"], rng: torch.Generator
    ) -> Float[Tensor, "33 2 N"]:
        config, (landmarks, count) = self.config, state.shape

        def normal(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, count, generator=rng)

        own = config.own * self._factor * normal(landmarks, 2)
        limb = config.limb * normal(_GROUPS, 2)[self._group]
        shift = config.common * normal(1, 2) + limb + own
        shift = shift * (config.spread * normal(1, 1)).exp()
        outlying = torch.rand(landmarks, 1, count, generator=rng) < config.outliers
        guess = config.occluded_limb * normal(_GROUPS, 2)[self._group]
        guess = guess + config.occluded * normal(landmarks, 2)
        elsewhere = (outlying * config.outlier) * normal(landmarks, 2)
        return shift + elsewhere + (state != VISIBLE)[:, None] * guess

    def _swap(
        self, points: Float[Tensor, "33 2 N"], rng: torch.Generator
    ) -> Float[Tensor, "33 2 N"]:
        """Exchange left and right in a share of the images."""
        uniform = torch.rand(points.shape[-1], generator=rng)
        every, arms, legs = self.config.swaps
        which = torch.zeros(len(points), points.shape[-1], dtype=torch.bool)
        which[_ARMS] = _between(uniform, 0.0, every + arms)
        which[_LEGS] = _between(uniform, 0.0, every) | _between(
            uniform, every + arms, every + arms + legs
        )
        return torch.where(which[:, None], points[self._mirror], points)


def _between(uniform: Float[Tensor, "N"], low: float, high: float) -> Bool[Tensor, "N"]:
    return (uniform >= low) & (uniform < high)


def _confidence(
    table: Float[Tensor, "33 3 2"], state: Int[Tensor, "33 N"], rng: torch.Generator
) -> Float[Tensor, "33 N"]:
    """Draw probabilities; a third of the logits' variance is common to the image."""
    mean, std = table[torch.arange(len(table))[:, None], state].unbind(-1)
    common = torch.randn(1, state.shape[1], generator=rng)
    own = torch.randn(state.shape, generator=rng)
    return torch.sigmoid(mean + std * (0.57 * common + 0.82 * own))
