"""What a landmark network returns for a known body: positions, visibility and presence with errors.

Most images are answered from a bank of what the network really returned, where there is one, the
others from tables. There, position errors are in units of half the person's size, the flow's own
unit: one shared by the image, one per limb and one per landmark, outliers, guesses for what is
occluded, and now and then left taken for right. Visibility and presence depend on whether a
landmark is visible, occluded inside the image or outside it, and a landmark that the network is
less sure of than usual is further off. The tables are measured on 5,000 rendered people whom the
live tracker found (`trainer.synthesize`), the swaps and the shared errors are estimates.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.data.augment import MIRRORED_LANDMARKS
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.landmark_bank import TRUNK, LandmarkBank, look_up
from trainer.synthetic.landmark_sites import KIND
from trainer.synthetic.occlusion import VISIBLE

_FACTOR = {
    "face": 1.2, "shoulder": 0.8, "elbow": 1.0, "wrist": 1.2, "hand": 2.0,
    "hip": 1.0, "knee": 1.1, "ankle": 1.2, "foot": 2.0,
}  # fmt: skip
"""Factor on a landmark's own error."""
_GUESS = {
    "face": (0.3, 0.5), "shoulder": (0.25, 0.5), "elbow": (0.6, 0.9), "wrist": (0.7, 0.9),
    "hand": (0.9, 1.1), "hip": (0.4, 0.9), "knee": (0.7, 1.2), "ankle": (1.2, 1.9),
    "foot": (1.2, 1.8),
}  # fmt: skip
"""Factors on the error of a landmark that is a guess: occluded inside the image, outside it."""
_VISIBILITY = {
    "face": ((6.9, 2.5), (5.0, 2.6), (5.5, 2.4)),
    "shoulder": ((7.8, 2.3), (6.5, 1.8), (5.5, 2.4)),
    "elbow": ((3.0, 2.5), (-1.1, 2.1), (0.8, 2.4)),
    "wrist": ((2.6, 2.5), (-1.8, 1.9), (-0.1, 2.2)),
    "hand": ((2.1, 2.2), (-1.8, 1.8), (-0.1, 2.1)),
    "hip": ((7.1, 2.0), (6.0, 2.5), (0.8, 4.0)),
    "knee": ((3.4, 2.3), (-0.2, 1.9), (-1.7, 2.6)),
    "ankle": ((3.3, 2.1), (-0.6, 1.9), (-2.5, 3.0)),
    "foot": ((2.7, 1.9), (-0.5, 1.8), (-2.0, 2.9)),
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
    peak: Float[Tensor, "33 N"]
    """NaN of landmarks from tables, which know of no heatmaps."""


class ErrorModel:
    """Adds a landmark network's errors to true landmarks."""

    def __init__(self, config: ErrorConfig, bank: LandmarkBank | None = None) -> None:
        """Prepare the tables.

        Args:
            config: sizes of the errors.
            bank: what the network really returned; without it, all images are answered from tables.
        """
        self.config = config
        self._bank = bank
        self._factor = torch.tensor([_FACTOR[kind] for kind in KIND])[:, None, None]
        guess = [(1.0, *_GUESS[kind]) for kind in KIND]
        self._guess = torch.tensor(guess)
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
        if self._bank is None:
            return self._from_tables(flat, state, half_size, rng)
        banked = torch.rand(len(half_size), generator=rng) < self.config.banked
        columns = banked.nonzero()[:, 0], (~banked).nonzero()[:, 0]
        first, last = ((flat[..., some], state[:, some], half_size[some]) for some in columns)
        parts = self._from_bank(self._bank, *first, rng), self._from_tables(*last, rng)
        order = torch.cat(columns).argsort()
        return SimulatedLandmarks(
            *(torch.cat(both, -1)[..., order] for both in zip(*parts, strict=True))
        )

    def _from_bank(
        self,
        bank: LandmarkBank,
        flat: Float[Tensor, "33 2 N"],
        state: Int[Tensor, "33 N"],
        half_size: Float[Tensor, "N"],
        rng: torch.Generator,
    ) -> SimulatedLandmarks:
        """Answer as the network did for similar people; its swaps are among these answers."""
        center = flat[TRUNK, :].mean(0, keepdim=True)
        true = ((flat - center) / half_size).movedim(-1, 0)
        answers = look_up(true, state.T, bank.pool(self.config.pool, rng))
        points = answers.points.movedim(0, -1) * half_size + center
        said = (answers.visibility, answers.presence, answers.peak)
        return SimulatedLandmarks(points, *(torch.sigmoid(part.T) for part in said))

    def _from_tables(
        self,
        flat: Float[Tensor, "33 2 N"],
        state: Int[Tensor, "33 N"],
        half_size: Float[Tensor, "N"],
        rng: torch.Generator,
    ) -> SimulatedLandmarks:
        sureness = _normal_logits(state, rng)
        visibility = _confidence(self._visibility, state, sureness)
        presence = _confidence(self._presence, state, _normal_logits(state, rng))
        points = flat + half_size * self._displacement(state, sureness, rng)
        unknown = torch.full_like(visibility, torch.nan)
        return SimulatedLandmarks(self._swap(points, rng), visibility, presence, unknown)

    def _displacement(
        self, state: Int[Tensor, "33 N"], sureness: Float[Tensor, "33 N"], rng: torch.Generator
    ) -> Float[Tensor, "33 2 N"]:
        config, (landmarks, count) = self.config, state.shape

        def normal(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, count, generator=rng)

        own = config.own * self._factor * normal(landmarks, 2)
        limb = config.limb * normal(_GROUPS, 2)[self._group]
        shift = config.common * normal(1, 2) + limb + own
        shift = shift * (config.spread * normal(1, 1) - config.unsure * sureness[:, None]).exp()
        outlying = torch.rand(landmarks, 1, count, generator=rng) < config.outliers
        guess = config.occluded_limb * normal(_GROUPS, 2)[self._group]
        guess = guess + config.occluded * normal(landmarks, 2)
        tails = (config.guess_spread * normal(_GROUPS, 1)).exp()[self._group]
        rows = torch.arange(landmarks)[:, None]
        guess = guess * tails * self._guess[rows, state][:, None]
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


def _normal_logits(state: Int[Tensor, "33 N"], rng: torch.Generator) -> Float[Tensor, "33 N"]:
    """Draw how sure the network is, standard normal; a third of it is common to the image."""
    common = torch.randn(1, state.shape[1], generator=rng)
    return 0.57 * common + 0.82 * torch.randn(state.shape, generator=rng)


def _confidence(
    table: Float[Tensor, "33 3 2"], state: Int[Tensor, "33 N"], sureness: Float[Tensor, "33 N"]
) -> Float[Tensor, "33 N"]:
    """Return probabilities."""
    mean, std = table[torch.arange(len(table))[:, None], state].unbind(-1)
    return torch.sigmoid(mean + std * sureness)
