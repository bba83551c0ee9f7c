"""What the landmark network really said of people, to draw from.

The errors of a person's landmarks belong together, and with visibility and presence: the face is
misplaced as a whole, a hand follows its wrist. And a guess is not the truth plus noise: the network
puts an occluded limb where it expects it, mostly in front of the occluder, and is often rather
sure. So what it returned for real and rendered people is stored with what was visible
(`trainer.landmark_bank`). For a synthetic person an entry is looked up with a similar true pose and
the same visibility, and its answer is taken over: relative to the truth for what is visible,
mostly relative to the last visible landmark above for what is not. Limbs whose visibility differs
there are answered from another entry.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engines.arrays import read_npz
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS, MIRRORED_LANDMARKS
from trainer.synthetic.landmark_sites import KIND
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

_ARM, _LEG = ("elbow", "wrist", "hand"), ("knee", "ankle", "foot")
_ABOVE = {"elbow": 11, "wrist": 13, "hand": 15, "knee": 23, "ankle": 25, "foot": 27}
"""The left landmark above each kind; the right one's number is one higher."""
TRUNK = (11, 12, 23, 24)
"""Shoulders and hips: positions are relative to their mean."""
_STATES = torch.tensor([VISIBLE, OCCLUDED, OUTSIDE])
_STATE_WEIGHT, _TRUNK_WEIGHT = 1.4, 0.7
"""How much a landmark whose state differs weighs beside a distance of half the person's size."""

_FOLLOWED = torch.tensor([1.0, 0.4, 0.25])
"""By state: the share of the difference between two limbs, both relative to their last visible
landmark, that is found in the network's answers too. Slopes between nearest entries are 0.50 to
0.69 on rendered people and 0.04 to 0.44 on real ones for what is occluded (elbow to foot), 0.26 to
0.36 and up to 0.25 for what lies outside the image.
"""


def _groups() -> list[list[int]]:
    """List landmarks that are occluded together: face, shoulders, hips and the four limbs."""
    whole = [[i for i, kind in enumerate(KIND) if kind == name] for name in ("shoulder", "hip")]
    face = [i for i, kind in enumerate(KIND) if kind == "face"]
    limbs = [
        [i for i, kind in enumerate(KIND) if kind in names and i % 2 == side]
        for names in (_ARM, _LEG)
        for side in (1, 0)
    ]
    return [face, *whole, *limbs]


GROUPS = _groups()
_TELLING = [0, 7, 8, *range(11, 17), 19, 20, *range(23, 29), 31, 32]
"""Landmarks that tell whole bodies apart; the others are near them."""


class LandmarkBank(NamedTuple):
    """M answers of the landmark network to images of which the truth is known.

    Positions are image coordinates relative to the mean of the true shoulders and hips, in units
    of half the person's size.
    """

    true: Float[Tensor, "M 33 2"]
    found: Float[Tensor, "M 33 2"]
    state: Int[Tensor, "M 33"]
    """As `trainer.synthetic.occlusion` has them."""
    visibility: Float[Tensor, "M 33"]
    """The network's logits."""
    presence: Float[Tensor, "M 33"]
    peak: Float[Tensor, "M 33"]
    """Logits; NaN where the landmarks came without heatmaps."""
    weight: Float[Tensor, "M"]
    """How often an entry is drawn, relative to others."""

    @classmethod
    def load(cls, path: Path) -> "LandmarkBank":
        """Read what `trainer.landmark_bank` wrote.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        try:
            arrays = read_npz(path)
            if set(arrays) != set(cls._fields) or arrays["true"].shape[1:] != (33, 2):
                raise ValueError("it holds something else")
        except ValueError as error:
            raise PenumbraError(
                f"landmark_bank: {path} is no bank ({error}); make one with python -m "
                "trainer.landmark_bank."
            ) from error
        parts = {name: torch.from_numpy(arrays[name]) for name in cls._fields}
        return cls(**parts | {"state": parts["state"].long()}).with_mirrored()

    def with_mirrored(self) -> "LandmarkBank":
        """Append every entry as in a mirror."""
        order, flip = list(MIRRORED_LANDMARKS), torch.tensor([-1.0, 1.0])
        mirrored = LandmarkBank(
            self.true[:, order] * flip,
            self.found[:, order] * flip,
            self.state[:, order],
            self.visibility[:, order],
            self.presence[:, order],
            self.peak[:, order],
            self.weight,
        )
        return LandmarkBank(*(torch.cat(both) for both in zip(self, mirrored, strict=True)))

    def rows(self, index: Int[Tensor, "P"]) -> "LandmarkBank":
        """Select entries."""
        return LandmarkBank(*(part[index] for part in self))

    def pool(self, count: int, rng: torch.Generator) -> "LandmarkBank":
        """Draw entries by their weights."""
        return self.rows(torch.multinomial(self.weight, count, replacement=True, generator=rng))


class Answers(NamedTuple):
    """Landmarks of N images as the network returns them, batch first."""

    points: Float[Tensor, "N 33 2"]
    """In the units of `LandmarkBank`."""
    visibility: Float[Tensor, "N 33"]
    presence: Float[Tensor, "N 33"]
    peak: Float[Tensor, "N 33"]


def look_up(
    true: Float[Tensor, "N 33 2"], state: Int[Tensor, "N 33"], pool: LandmarkBank
) -> Answers:
    """Answer for people as the network did for similar ones.

    Args:
        true: positions in the units of `LandmarkBank`.
        state: of each landmark.
        pool: entries to choose from.
    """
    entry = pool.rows(_nearest(true, state, pool, _TELLING))
    answers = _taken_over(true, state, entry, list(range(len(KIND))))
    for group in GROUPS:
        rows = (state[:, group] != entry.state[:, group]).any(1).nonzero()[:, 0]
        if not len(rows):
            continue
        other = pool.rows(_nearest(true[rows], state[rows], pool, group))
        limb = _taken_over(true[rows], state[rows], other, group)
        for whole, part in zip(answers, limb, strict=True):
            whole[rows[:, None], torch.tensor(group)] = part
    return answers


def _nearest(
    true: Float[Tensor, "N 33 2"],
    state: Int[Tensor, "N 33"],
    pool: LandmarkBank,
    landmarks: list[int],
) -> Int[Tensor, "N"]:
    """Return the entries that are most alike in some landmarks."""
    mine = _description(true, state, landmarks)
    theirs = _description(pool.true, pool.state, landmarks)
    # Squared distances without the part that is the same for all entries.
    return torch.addmm(theirs.square().sum(1), mine, theirs.T, alpha=-2).argmin(1)


def _taken_over(
    true: Float[Tensor, "N 33 2"],
    state: Int[Tensor, "N 33"],
    entry: LandmarkBank,
    landmarks: list[int],
) -> Answers:
    """Take over the answers for some landmarks from an entry for each person."""
    anchor = _anchors(state, entry.state, landmarks)
    rows = torch.arange(len(true))[:, None]
    base, entry_base = true[rows, anchor], entry.true[rows, anchor]
    differs = (true[:, landmarks] - base) - (entry.true[:, landmarks] - entry_base)
    followed = _FOLLOWED[torch.maximum(state, entry.state)[:, landmarks], None]
    points = base + entry.found[:, landmarks] - entry_base + followed * differs
    said = (entry.visibility, entry.presence, entry.peak)
    return Answers(points, *(part[:, landmarks] for part in said))


def _description(
    true: Float[Tensor, "N 33 2"], state: Int[Tensor, "N 33"], group: list[int]
) -> Float[Tensor, "N D"]:
    """Vectors whose squared distances say how alike landmarks are, and what is visible of them."""
    parts = [true[:, group].flatten(1)]
    for landmarks, weight in ((group, _STATE_WEIGHT), (list(TRUNK), _TRUNK_WEIGHT)):
        states = state[:, landmarks, None] == _STATES  # one-hot
        parts.append(weight * states.flatten(1))
    return torch.cat(parts, 1)


def _anchors(
    state: Int[Tensor, "N 33"], entry_state: Int[Tensor, "N 33"], group: list[int]
) -> Int[Tensor, "N G"]:
    """Return the landmark that each answer is taken relative to, the same here and in the entry.

    For a landmark that is visible here and there that is itself. Else it is the nearest one
    above that is visible in both, or the shoulder or hip; trunk and face have none above.
    """
    visible = (state == VISIBLE) & (entry_state == VISIBLE)
    columns = []
    for landmark in group:
        chain = _chain(landmark)
        anchor = torch.full((len(state),), chain[-1])
        for candidate in reversed(chain[:-1]):
            anchor = torch.where(visible[:, candidate], candidate, anchor)
        columns.append(anchor)
    return torch.stack(columns, 1)


def _chain(landmark: int) -> list[int]:
    """Return a landmark and those above it, up to shoulder or hip."""
    chain = [landmark]
    while (kind := KIND[chain[-1]]) in _ABOVE:
        chain.append(_ABOVE[kind] + 1 - landmark % 2)
    return chain


def half_sizes(true: Float[np.ndarray, "*n 33 2"]) -> Float[np.ndarray, "*n"]:
    """Half the size of people in the unit of their landmarks, as `projection.half_size_of`."""
    away = true[..., list(LIMB_LANDMARKS), :] - true[..., list(TRUNK), :].mean(-2, keepdims=True)
    return np.asarray(2.0 * np.sqrt(np.square(away).sum(-1).mean(-1)))


def normalised(
    points: Float[np.ndarray, "*n 33 2"], true: Float[np.ndarray, "*n 33 2"]
) -> Float[np.ndarray, "*n 33 2"]:
    """Express image points in the units of `LandmarkBank`."""
    center = true[..., list(TRUNK), :].mean(-2, keepdims=True)
    return (points - center) / half_sizes(true)[..., None, None]
