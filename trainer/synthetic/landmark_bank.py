"""What the landmark network really said of limbs that it did not see whole, to draw from.

A guess is not the truth plus noise: the network puts an occluded limb where it expects it, mostly
in front of the occluder, and is often rather sure. So what it returned for real and rendered people
is stored with what was visible (`trainer.landmark_bank`). For every limb of a synthetic person of
which something is occluded or outside the image, an entry is looked up with the same visibility and
a similar true pose, and its answer is taken over: relative to the last visible landmark above for
what is not visible, relative to the truth for what is.
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
from trainer.synthetic.occlusion import VISIBLE

_ARM, _LEG = ("elbow", "wrist", "hand"), ("knee", "ankle", "foot")
_ABOVE = {"elbow": 11, "wrist": 13, "hand": 15, "knee": 23, "ankle": 25, "foot": 27}
"""The left landmark above each kind; the right one's number is one higher."""
TRUNK = (11, 12, 23, 24)
"""Shoulders and hips: positions are relative to their mean."""
_STATE_WEIGHT, _TRUNK_WEIGHT = 1.4, 0.7
"""How much a landmark whose state differs weighs beside a distance of half the person's size."""


def _groups() -> list[list[int]]:
    """List the landmarks that are looked up together: face, shoulders, hips and the four limbs."""
    whole = [[i for i, kind in enumerate(KIND) if kind == name] for name in ("shoulder", "hip")]
    face = [i for i, kind in enumerate(KIND) if kind == "face"]
    limbs = [
        [i for i, kind in enumerate(KIND) if kind in names and i % 2 == side]
        for names in (_ARM, _LEG)
        for side in (1, 0)
    ]
    return [face, *whole, *limbs]


GROUPS = _groups()


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
    weight: Float[Tensor, "M"]
    """How often an entry is drawn, relative to others."""

    @classmethod
    def load(cls, path: Path) -> "LandmarkBank":
        """Read what `trainer.landmark_bank` wrote.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        arrays = read_npz(path)
        if set(arrays) != set(cls._fields) or arrays["true"].shape[1:] != (33, 2):
            raise PenumbraError(
                f"landmark_bank: {path} is no bank; make one with python -m trainer.landmark_bank."
            )
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


def look_up(
    answers: Answers, true: Float[Tensor, "N 33 2"], state: Int[Tensor, "N 33"], pool: LandmarkBank
) -> Answers:
    """Replace the answers of limbs that are not visible as a whole by those of similar entries.

    Args:
        answers: to start from.
        true: positions in the units of `LandmarkBank`.
        state: of each landmark.
        pool: entries to choose from.
    """
    points, visibility, presence = (part.clone() for part in answers)
    for group in GROUPS:
        needed = (state[:, group] != VISIBLE).any(1).nonzero()[:, 0]
        if not len(needed):
            continue
        mine = _description(true[needed], state[needed], group)
        theirs = _description(pool.true, pool.state, group)
        # The nearest: squared distances without the part that is the same for all entries.
        nearest = (theirs.square().sum(1) - 2 * mine @ theirs.T).argmin(1)
        entry = pool.rows(nearest)
        at, column = needed[:, None], torch.tensor(group)
        anchor = _anchors(state[needed], entry.state, group)
        rows = torch.arange(len(needed))[:, None]
        away = entry.found[:, group] - entry.true[rows, anchor]
        points[at, column] = true[at, anchor] + away
        visibility[at, column] = entry.visibility[:, group]
        presence[at, column] = entry.presence[:, group]
    return Answers(points, visibility, presence)


def _description(
    true: Float[Tensor, "N 33 2"], state: Int[Tensor, "N 33"], group: list[int]
) -> Float[Tensor, "N D"]:
    """Vectors whose squared distances say how alike two limbs are, and what is visible of them."""
    states = torch.nn.functional.one_hot(state, 3).float()
    return torch.cat(
        [
            true[:, group].flatten(1),
            _STATE_WEIGHT * states[:, group].flatten(1),
            _TRUNK_WEIGHT * states[:, TRUNK].flatten(1),
        ],
        1,
    )


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
