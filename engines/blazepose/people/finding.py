"""What the landmark network finds in a region: as the image is, or with those in front covered."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.people.appearance import UNKNOWN, colours_of
from engines.blazepose.people.continuity import is_wrong, jump
from engines.blazepose.people.covering import Cover
from engines.blazepose.people.duplicates import lies_on
from engines.blazepose.people.track import Candidate, Track
from engines.blazepose.roi import steady
from engines.blazepose.tracker import believable
from engines.types import Landmarks, Roi

_STEADY = 0.03
"""`jump` up to which landmarks are taken to be on the same person still. Of people who cross, 9 of
10 right answers jump less, and 4 of 5 wrong ones more."""

FindAllLandmarks = Callable[
    [UInt8[np.ndarray, "h w 3"], Sequence[Roi]], list[tuple[Landmarks, Roi]]
]
"""Landmarks in regions of an image, and the next regions: `Landmarker.each`."""


class Finder:
    """Asks the landmark network; belongs to one thread."""

    def __init__(
        self,
        landmarker: FindAllLandmarks,
        min_score: float,
        wants_colours: Callable[[Track | None], bool],
    ) -> None:
        """Take the network.

        Args:
            landmarker: finds the landmarks in regions.
            min_score: from which on its landmarks are a person's.
            wants_colours: whether the colours are needed of what is found for a track, or for
                nobody who is known.
        """
        self._landmarker = landmarker
        self._min_score = min_score
        self._wants_colours = wants_colours

    def each(
        self, image: UInt8[np.ndarray, "h w 3"], regions: Sequence[tuple[Track | None, Roi]]
    ) -> list[Candidate | None]:
        """Return what is found in regions, each searched for a track or for anybody."""
        results = self._landmarker(image, [roi for _, roi in regions])
        return [
            self._observed(image, track, roi, *result)
            for (track, roi), result in zip(regions, results, strict=True)
        ]

    def newcomer(self, cover: Cover, roi: Roi, min_score: float) -> Candidate | None:
        """Return who is found in a region beside those who are covered, if surely enough.

        Here the cover has the colours of the surroundings. Beside noise the network is so ready to
        find a person that of one who is known, half covered, it makes others.
        """
        return _beside(cover, self.each(cover.filled, [(None, roi)])[0], min_score)

    def own(
        self, track: Track, roi: Roi, plain: Candidate | None, cover: Cover, min_score: float
    ) -> Candidate | None:
        """Return what is on the person of a track that others overlap.

        Args:
            track: of somebody in sight.
            roi: the region of that person.
            plain: what was found in it.
            cover: hides the others; asked about only if what was found jumps.
            min_score: of what is found beside the cover.
        """
        right = [] if plain is None or is_wrong(track, plain) else [plain]
        if not cover.people or any(jump(track, one.landmarks) < _STEADY for one in right):
            return right[0] if right else None
        beside = self._beside_noise(cover, roi, track, min_score)
        if beside is not None and not is_wrong(track, beside):
            right.append(beside)
        return min(right, key=lambda one: jump(track, one.landmarks), default=None)

    def behind(self, track: Track, cover: Cover, min_score: float) -> Candidate | None:
        """Return what is found of somebody who should be behind others or come out from there."""
        one = self._beside_noise(cover, track.sought, track, min_score)
        if one is None or (track.hidden and lies_on(one, cover.people)) or is_wrong(track, one):
            return None
        return one

    def _beside_noise(
        self, cover: Cover, roi: Roi, track: Track, min_score: float
    ) -> Candidate | None:
        return _beside(cover, self.each(cover.noisy, [(track, roi)])[0], min_score)

    def _observed(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        track: Track | None,
        roi: Roi,
        landmarks: Landmarks,
        next_roi: Roi,
    ) -> Candidate | None:
        """Return what the landmark network found in a region, None if that is no person."""
        if not believable(landmarks, self._min_score):
            return None
        colours = colours_of(image, landmarks) if self._wants_colours(track) else UNKNOWN
        following = track is not None and not track.hidden
        return Candidate(
            landmarks, steady(roi, next_roi) if following else next_roi, colours, track
        )


def _beside(cover: Cover, one: Candidate | None, min_score: float) -> Candidate | None:
    """Return what was found in an image with a cover, if it counts."""
    if one is None or one.landmarks.score < min_score:
        return None
    return cover.beside(one) if cover.people else one
