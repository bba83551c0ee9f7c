"""What a landmark network makes of a body that we know: positions, visibility and presence with a
network's errors.

The errors are in units of half the person's size, the flow's own unit: one common shift, one of
each limb and one of each landmark, outliers, guesses for what is hidden, and now and then left
taken for right. How sure the network says it is depends on whether a landmark is seen, hidden
inside the picture or outside it; the figures are measured on painted people (`trainer.synthesize`)
and on real footage.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trainer.landmark_sites import KIND
from trainer.pairs.augment import MIRRORED_LANDMARKS

SEEN, HIDDEN, OUTSIDE = 0, 1, 2
_FACTOR = {
    "face": 1.2, "shoulder": 0.8, "elbow": 1.0, "wrist": 1.2, "hand": 2.0,
    "hip": 1.0, "knee": 1.1, "ankle": 1.2, "foot": 2.0,
}  # fmt: skip
"""Of a landmark's own error."""
_VISIBILITY = {
    "face": ((6.5, 2.5), (4.0, 2.8), (4.0, 2.5)), "shoulder": ((7.3, 2.4), (6.0, 2.0), (4.5, 2.3)),
    "elbow": ((3.3, 2.4), (-0.8, 2.3), (-0.8, 2.3)),
    "wrist": ((3.0, 2.4), (-1.7, 2.0), (-1.2, 2.3)),
    "hand": ((2.5, 2.2), (-1.7, 1.8), (-1.2, 2.1)), "hip": ((6.5, 2.2), (5.2, 2.6), (-1.0, 4.0)),
    "knee": ((3.7, 2.2), (-0.3, 2.0), (-3.0, 3.0)), "ankle": ((3.7, 2.2), (-0.8, 2.0), (-3.5, 3.2)),
    "foot": ((3.0, 2.0), (-0.7, 1.9), (-3.0, 3.0)),
}  # fmt: skip
"""Mean and standard deviation of the visibility's logit: seen, hidden, outside."""
_PRESENCE = {
    "upper": ((7.0, 2.3), (4.8, 2.6), (1.5, 3.0)),
    "lower": ((7.5, 2.3), (4.0, 3.2), (-3.5, 4.0)),
}
_UPPER = ("face", "shoulder", "elbow", "wrist", "hand")
_LIMB = {
    "face": 0,
    "shoulder": 1,
    "elbow": 2,
    "wrist": 2,
    "hand": 2,
    "hip": 4,
    "knee": 5,
    "ankle": 5,
    "foot": 5,
}
_ARMS = tuple(i for i, kind in enumerate(KIND) if kind in ("shoulder", "elbow", "wrist", "hand"))
_LEGS = tuple(i for i, kind in enumerate(KIND) if kind in ("hip", "knee", "ankle", "foot"))


@dataclass(frozen=True)
class ErrorConfig:
    """Sizes of the errors, standard deviations in units of half the person's size."""

    common: float = 0.015
    limb: float = 0.014
    own: float = 0.020
    spread: float = 0.45
    """Of the log of a picture's own factor on all of them."""
    outliers: float = 0.03
    """Share of landmarks that land elsewhere."""
    outlier: float = 0.15
    hidden_limb: float = 0.12
    """Of what all hidden landmarks of a limb share."""
    hidden: float = 0.08
    """Of a hidden landmark's own guess."""
    swaps: tuple[float, float, float] = (0.030, 0.010, 0.020)
    """How often left is taken for right: everything below the face, arms, legs."""


class ErrorModel:
    """Call it with true landmarks; see the module's docstring."""

    def __init__(self, config: ErrorConfig) -> None:
        self.config = config
        self._factor = torch.tensor([_FACTOR[kind] for kind in KIND])[:, None, None]
        sides = [0 if _LIMB[kind] in (0,) else i % 2 for i, kind in enumerate(KIND)]
        self._limb = torch.tensor(
            [_LIMB[k] + (s if _LIMB[k] in (2, 5) else 0) for k, s in zip(KIND, sides, strict=True)]
        )
        self._visibility = torch.tensor([_VISIBILITY[kind] for kind in KIND])
        self._presence = torch.tensor(
            [_PRESENCE["upper" if kind in _UPPER else "lower"] for kind in KIND]
        )
        self._mirror = torch.tensor(MIRRORED_LANDMARKS)

    def __call__(
        self,
        flat: Float[Tensor, "33 2 N"],
        state: Tensor,
        half: Float[Tensor, "N"],
        chance: torch.Generator,
    ) -> tuple[Float[Tensor, "33 2 N"], Float[Tensor, "33 N"], Float[Tensor, "33 N"]]:
        """What the network says.

        Args:
            flat: true positions, any unit.
            state: (33, N) SEEN, HIDDEN or OUTSIDE.
            half: half the person's size in the same unit.
            chance: of this batch.

        Returns:
            Positions, visibility and presence.
        """
        points = flat + half * self._shift(state, chance)
        points = self._swapped(points, chance)
        return (
            points,
            self._sure(self._visibility, state, chance),
            self._sure(self._presence, state, chance),
        )

    def _shift(self, state: Tensor, chance: torch.Generator) -> Float[Tensor, "33 2 N"]:
        config, count = self.config, state.shape[1]
        randn, rand = _drawer(torch.randn, chance), _drawer(torch.rand, chance)
        own = config.own * self._factor * randn(33, 2, count)
        limb = randn(7, 2, count)[self._limb]
        shift = config.common * randn(1, 2, count) + config.limb * limb + own
        shift = shift * (config.spread * randn(1, 1, count)).exp()
        far = (rand(33, 1, count) < config.outliers) * config.outlier
        guess = config.hidden_limb * randn(7, 2, count)[self._limb] + config.hidden * randn(
            33, 2, count
        )
        return shift + far * randn(33, 2, count) + (state != SEEN)[:, None] * guess

    def _swapped(
        self, points: Float[Tensor, "33 2 N"], chance: torch.Generator
    ) -> Float[Tensor, "33 2 N"]:
        dice, (every, arms, legs) = (
            torch.rand(points.shape[-1], generator=chance),
            self.config.swaps,
        )
        which = torch.zeros(33, points.shape[-1], dtype=torch.bool)
        which[list(_ARMS)] |= (dice < every) | ((dice >= every) & (dice < every + arms))
        which[list(_LEGS)] |= (dice < every) | (
            (dice >= every + arms) & (dice < every + arms + legs)
        )
        return torch.where(which[:, None], points[self._mirror], points)

    @staticmethod
    def _sure(
        table: Float[Tensor, "33 3 2"], state: Tensor, chance: torch.Generator
    ) -> Float[Tensor, "33 N"]:
        """Probabilities; a third of what is uncertain about them is common to the picture."""
        rows = torch.arange(33)[:, None]
        mean, std = table[rows, state].unbind(-1)
        common = torch.randn(1, state.shape[1], generator=chance)
        own = torch.randn(state.shape, generator=chance)
        return torch.sigmoid(mean + std * (0.57 * common + 0.82 * own))


def _drawer(draw, chance: torch.Generator):
    return lambda *shape: draw(*shape, generator=chance)


def limb_landmarks_seen(state: Tensor) -> Bool[Tensor, "12 N"]:
    """Which of the twelve limb landmarks are seen."""
    return state[[i for i, kind in enumerate(KIND) if kind not in ("face", "hand", "foot")]] == SEEN
