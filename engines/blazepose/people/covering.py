"""Cover people who are in front, so that the networks see who is behind them.

In a region that two people share the landmark network finds the one in front, or slips between
them. Where that one is known already, noise takes the place: it looks like nothing, so the network
guesses what is under it. Of 367 people who had been missed beside another one it finds 106 in the
right region if the colours of the surroundings take the place, as if nobody were there; 178 under
flat grey; as many or more under noise, with which the tracker keeps people best.

The detector, which proposes regions, is shown the colours of the surroundings. Beside a large
person it gives another one a score of 0.00 to 0.05, and 0.5 to 0.97 when the first is covered
(measured on 198 images of two people in a laboratory).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from engines.blazepose.people.appearance import colours_of
from engines.blazepose.people.track import Candidate
from engines.types import LIMB_LANDMARKS, Landmarks

_LIMBS = list(LIMB_LANDMARKS)
"""Shoulders, elbows, wrists, hips, knees, ankles."""
_BONES = (
    *((11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)),
    *((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32), (29, 31), (30, 32)),
)
_TORSO = (11, 12, 24, 23)
_FACE = tuple(range(11))
_LIMB_WIDTH = 0.24
"""Of a limb with its clothes, in lengths of the torso."""
_HEAD_RADIUS = 0.3
_GRAINS = 170
"""Of the noise, along the longer side of what is covered: a grain is about a pixel of the landmark
network's."""
_GREY, _CONTRAST = 127.0, 50.0
"""Mean and standard deviation of the noise."""
_FILLED_SIDE = 120
"""Longer side of the image on which the cover's colours are computed, px."""
_FILL_RADIUS = 5
"""Of the surroundings whose colours fill a place, px of that image."""
_FAR = 1e5
"""Points farther outside than this, px, are drawn at this distance."""


COVERED_VISIBILITY = 0.2
"""The most that the visibility of a landmark can be that lies under the cover."""
WITH_EDGES = 1.7
"""Thickness of limbs beside which an image surely does not show those in front any more."""
MOST_HIDDEN = 0.6
"""Share of the limb joints under a cover from which on nobody counts as found behind it."""


@dataclass(frozen=True)
class Cover:
    """An image in which some people are covered."""

    original: UInt8[np.ndarray, "h w 3"]
    people: Sequence[Landmarks]
    """Who is covered."""

    @cached_property
    def mask(self) -> UInt8[np.ndarray, "h w"]:
        """Where the cover is: 1 there, 0 elsewhere."""
        return self._mask(1.0)

    @cached_property
    def filled(self) -> UInt8[np.ndarray, "h w 3"]:
        """The image with the colours of the surroundings on the people, for the detector."""
        return filled(self.original, self.mask) if self.people else self.original

    @cached_property
    def noisy(self) -> UInt8[np.ndarray, "h w 3"]:
        """The image with noise on the people, for the landmark network."""
        return noisy(self.original, self.mask) if self.people else self.original

    def beside(self, one: Candidate) -> Candidate | None:
        """Return what was found in the covered image as it counts, or None if too much is covered.

        Landmarks under the cover are not visible. The colours are those of the original, and only
        where it surely shows nobody who is covered.
        """
        hidden = under(self.mask, one.landmarks)
        if hidden[_LIMBS].mean() > MOST_HIDDEN:
            return None
        colours = colours_of(self.original, one.landmarks, self._mask(WITH_EDGES))
        return replace(one, landmarks=hide(one.landmarks, hidden), colours=colours)

    def _mask(self, thickness: float) -> UInt8[np.ndarray, "h w"]:
        return body_mask((self.original.shape[1], self.original.shape[0]), self.people, thickness)


def body_mask(
    size: tuple[int, int], people: Sequence[Landmarks], thickness: float = 1.0
) -> UInt8[np.ndarray, "h w"]:
    """Return where people are in an image, by their landmarks: 1 there, 0 elsewhere.

    Args:
        size: width and height of the image, px.
        people: their landmarks.
        thickness: of the limbs, in usual ones.
    """
    mask = np.zeros(size[::-1], np.uint8)
    for person in people:
        _draw(mask, person, thickness)
    return mask


def noisy(
    image: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy of an image with noise where the mask is not zero.

    The grains grow with the place, so that the landmark network, which sees a region of any size
    in as many pixels, sees the same noise.
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    image = image.copy()
    if not len(rows):
        return image
    place = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    hole = mask[place]
    grain = max(1, round(max(hole.shape) / _GRAINS))
    height, width = (-(-side // grain) for side in hole.shape)
    size = (grain * width, grain * height)
    noise = cv2.resize(_noise()[:height, :width], size, interpolation=cv2.INTER_NEAREST)
    cv2.copyTo(noise[: hole.shape[0], : hole.shape[1]], hole, image[place])
    return image


@cache
def _noise() -> UInt8[np.ndarray, "n n 3"]:
    side = 2 * _GRAINS
    noise = np.random.default_rng(0).normal(_GREY, _CONTRAST, (side, side, 3))
    return noise.clip(0, 255).astype(np.uint8)


def filled(
    image: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy of an image with the colours of the surroundings where the mask is not zero.

    Any other cover has the outline of a person, which the detector takes for one; filled in, nobody
    is there. The filling (A. Telea, 2004, as OpenCV has it) is computed on a small image: only
    smooth colours are wanted. All takes 10 ms at 1920 x 1080 px (one core of an Intel Xeon).
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    image = image.copy()
    if not len(rows):
        return image
    step = max(1, max(image.shape[:2]) // _FILLED_SIDE)
    around = (_FILL_RADIUS + 2) * step
    left, top = max(0, columns[0] - around), max(0, rows[0] - around)
    part = image[top : rows[-1] + around, left : columns[-1] + around]
    height, width = part.shape[:2]
    size = (max(1, width // step), max(1, height // step))
    hole = mask[top : rows[-1] + around, left : columns[-1] + around]
    hole = (cv2.resize(255 * hole, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    hole = cv2.dilate(hole, np.ones((3, 3), np.uint8))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    around_it = cv2.inpaint(small, hole, _FILL_RADIUS, cv2.INPAINT_TELEA)
    around_it = cv2.resize(around_it, (width, height))
    cv2.copyTo(around_it, cv2.resize(hole, (width, height), interpolation=cv2.INTER_NEAREST), part)
    return image


def under(mask: UInt8[np.ndarray, "h w"], landmarks: Landmarks) -> Bool[np.ndarray, "33"]:
    """Tell which landmarks lie where the mask is not zero."""
    height, width = mask.shape
    x, y = np.floor(landmarks.points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return inside & (mask[y.clip(0, height - 1), x.clip(0, width - 1)] > 0)


def hide(landmarks: Landmarks, hidden: Bool[np.ndarray, "33"]) -> Landmarks:
    """Return landmarks of which those under a cover are known not to be visible."""
    visibility = np.where(
        hidden, np.minimum(landmarks.visibility, COVERED_VISIBILITY), landmarks.visibility
    )
    return replace(landmarks, visibility=visibility)


def _draw(mask: UInt8[np.ndarray, "h w"], person: Landmarks, thickness: float) -> None:
    points = person.points
    shoulders, hips = points[[11, 12]].mean(0), points[[23, 24]].mean(0)
    torso = float(np.linalg.norm(shoulders - hips))
    width = max(1, round(thickness * _LIMB_WIDTH * torso))
    pixels = np.round(points.clip(-_FAR, _FAR)).astype(np.int32)
    for a, b in _BONES:
        cv2.line(mask, pixels[a].tolist(), pixels[b].tolist(), [1], width)
    outline = pixels[list(_TORSO)]
    cv2.fillPoly(mask, [outline], [1])
    cv2.polylines(mask, [outline], True, [1], 2 * width)
    head = pixels[list(_FACE)].mean(0).astype(int)
    neck = pixels[[11, 12]].mean(0).astype(int)
    cv2.line(mask, head.tolist(), neck.tolist(), [1], width)
    cv2.circle(mask, head.tolist(), max(1, round(_HEAD_RADIUS * torso)), [1], -1)
