"""Consecutive images to the landmarks of several people, each with a number.

In each frame the landmark network is run in the region of everybody in sight. The detector looks
again now and then (`views`), at the whole image and its squares in turn, also where something moves
(`motion`) or has come (`background`) that is nobody who is known, and at once where somebody was
lost. What moves or has come is shown to the landmark network too. Beside a person the detector
overlooks others, so those who were found are covered in every other look, and in each that has a
reason (`covering`).
Two sets of landmarks on one body count once (`duplicates`), a skeleton over two bodies not at all
(`stretching`), and the cheapest assignment decides who is who (`continuity`, `matching`): by place,
size, pose and the colours of the clothes (`appearance`). Who of them counts says `places`. The
policy:

- Crossing. Where two overlap and the landmarks of one jump, the network is shown that one with the
  other covered too (`covering`), and the answer counts that jumps less (`finding`); joints under
  the cover are not visible. Whose landmarks have gone over to somebody else nevertheless, by their
  overlap, their colours or the lengths of their bones, is searched behind all who are near. If that
  fails the person is out of sight, is expected to walk on or to stay, and is searched in both
  places.
- Leaving. Who is not found for `FORGET_AFTER` frames is forgotten.
- Coming back. Until then, somebody of the same size and colours near the expected place has the
  same number; the longer it takes, the wider is near. Later, or elsewhere, it is another number. A
  number is never given twice.
- Arriving. The first to be found count at once. Who joins later counts after `CONFIRM` frames, so
  that one false detection is not a person, and if the image has changed where they are, so that
  furniture is none (`background`), or somebody was followed there before. Who is small
  (`SMALLEST`) is background.
- Too many. Nobody in sight is given up for somebody new, unless the new one is `REPLACE` times as
  large as the smallest, and as sure to be a person as whoever joins.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.detector import Detection, open_detector
from engines.blazepose.landmarker import open_landmarker
from engines.blazepose.models import MIN_SCORE
from engines.blazepose.people.background import Background
from engines.blazepose.people.continuity import UNMATCHED, are_near, cost, near_others
from engines.blazepose.people.covering import Cover
from engines.blazepose.people.duplicates import merged
from engines.blazepose.people.finding import FindAllLandmarks, Finder
from engines.blazepose.people.matching import assign
from engines.blazepose.people.one_person import OnePersonTracker
from engines.blazepose.people.places import Places
from engines.blazepose.people.similarity import overlap, same_region
from engines.blazepose.people.stretching import split
from engines.blazepose.people.track import Candidate, Track, TrackedPerson
from engines.blazepose.people.views import LOOK_FOR_LOST_EVERY, Lookout
from engines.blazepose.tracker import PoseTracker
from engines.types import LandmarkNetwork, Roi

FORGET_AFTER = 90
"""Frames out of sight after which somebody is forgotten."""
LEARN_COLOURS_EVERY = 4
"""Frames between two images from which the colours of somebody who is alone are learned."""
SURE = 0.95
"""Score of the landmarks from which on somebody counts who joins others. A body that is there
already, its shadow and what it is near to often score above one half, people above this."""
SURE_AGAIN = 0.9
"""The same for somebody out of sight who is searched where they should be, and for what is found
with others covered."""
SMALLEST = 0.1
"""Side of a region below which nobody is tracked, in the shorter side of the image."""
LookForPeople = Callable[[UInt8[np.ndarray, "h w 3"], Roi | None], list[Detection]]
"""The people of a square of an image: `engines.blazepose.detector.Detector.people`."""


class PeopleTracker:
    """Follows up to N people through the frames of a source; belongs to one thread."""

    def __init__(
        self,
        detector: LookForPeople,
        landmarker: FindAllLandmarks,
        max_people: int,
        min_score: float = MIN_SCORE,
    ) -> None:
        """Take the two networks.

        Args:
            detector: proposes regions.
            landmarker: finds the landmarks in regions.
            max_people: N.
            min_score: of the landmarker, from which on a person counts as found.
        """
        self._detector = detector
        self._find = Finder(landmarker, min_score, self._wants_colours)
        self._max_people = max_people
        self._min_score = min_score
        self._last_id = 0
        self.reset()

    def reset(self) -> None:
        """Drop all tracks, as after a cut in a video."""
        self._tracks: list[Track] = []
        self._frames = 0
        self._near_others: frozenset[Track] = frozenset()
        self._background = Background()
        self._places = Places(self._max_people, self._background)
        self._lookout = Lookout(self._background)

    @property
    def known(self) -> frozenset[int]:
        """Numbers of the people in sight and of those who may come back."""
        return frozenset(t.track_id for t in self._tracks if t.track_id is not None)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[TrackedPerson, ...]:
        """Return the people of a BGR image, by number."""
        alone = not self._tracks
        self._near_others = near_others(self._tracks)
        found = merged(self._followed(image))
        found = merged(found + self._behind(image, found))
        found = merged(split(found + self._newly_found(image, found)))
        self._update(found, min(image.shape[:2]))
        self._number(image, alone)
        in_sight = [track.landmarks for track in self._tracks if not track.hidden]
        self._background.see(image, in_sight)
        self._frames += 1
        return tuple(
            TrackedPerson(track.track_id, track.sides(track.landmarks))
            for track in self._tracks
            if track.track_id is not None and not track.hidden
        )

    def _followed(self, image: UInt8[np.ndarray, "h w 3"]) -> list[Candidate]:
        """Return what is found in the regions of those in sight."""
        near = self._near_others
        in_sight = [track for track in self._tracks if not track.hidden]
        regions = [(track, track.expected if track in near else track.roi) for track in in_sight]
        seen: dict[Track, Candidate | None] = {
            track: one if one and one.landmarks.score >= self._least_score(track) else None
            for (track, _), one in zip(regions, self._find.each(image, regions), strict=True)
        }
        found = [
            self._own(image, track, roi, seen) if track in near else seen[track]
            for track, roi in regions
        ]
        return [one for one in found if one is not None]

    def _own(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        track: Track,
        roi: Roi,
        seen: Mapping[Track, Candidate | None],
    ) -> Candidate | None:
        """Return what is on the person of a track near others, of what is found with and without
        covering these."""
        plain = seen[track]
        body = track.landmarks if plain is None else plain.landmarks
        others = [
            one.landmarks
            for other, one in seen.items()
            if other is not track and one is not None and overlap(body, one.landmarks)
        ]
        score = max(self._least_score(track), SURE_AGAIN)
        return self._find.own(track, roi, plain, Cover(image, others), score)

    def _least_score(self, track: Track) -> float:
        """Return the score from which on landmarks continue a track."""
        if track.track_id is None:
            return SURE
        return SURE_AGAIN if track.hidden else self._min_score

    def _behind(self, image: UInt8[np.ndarray, "h w 3"], found: list[Candidate]) -> list[Candidate]:
        """Return who is found behind others, or comes out from there.

        It is searched for whoever should be near somebody who was found and was not found in the
        own region, with the others covered.
        """
        behind = []
        followed = {one.track for one in found}
        for track in self._tracks:
            if track in followed:
                continue
            front = [one.landmarks for one in found if are_near(one.roi, track.sought)]
            if not front and (not track.hidden or track.hidden % LOOK_FOR_LOST_EVERY):
                continue
            one = self._find.behind(track, Cover(image, front), self._least_score(track))
            if one is not None:
                behind.append(one)
        return behind

    def _wants_colours(self, track: Track | None) -> bool:
        """Whether colours decide something now, or it is time to learn them again."""
        return (
            track is None
            or bool(track.hidden)
            or self._frames % LEARN_COLOURS_EVERY == 0
            or track in self._near_others
        )

    def _newly_found(
        self, image: UInt8[np.ndarray, "h w 3"], found: list[Candidate]
    ) -> list[Candidate]:
        """Return what is found where nobody in sight was, or not in that pose."""
        new: list[Candidate] = []
        look = self._lookout(image, self._tracks, found)
        plain, cover = Cover(image, []), Cover(image, [one.landmarks for one in found])
        for view in look.views:
            shown = cover if view.covered else plain
            for roi in (d.roi for d in self._detector(shown.filled, view.square)):
                if len(new) >= self._max_people:
                    return new
                if any(same_region(roi, known.roi) for known in (*found, *new)):
                    continue
                first = not (self._tracks or new)
                one = self._find.newcomer(shown, roi, 0.0 if first else SURE_AGAIN)
                if one is not None and (first or self._counts(one)):
                    new.append(one)
        if look.body is not None and not new:
            (near,) = self._find.each(image, [(None, look.body)])
            one = near and self._find.each(image, [(None, near.roi)])[0]
            if one is not None and one.landmarks.score >= SURE:
                new.append(one)
        return new

    def _counts(self, one: Candidate) -> bool:
        """Tell whether a detection is sure enough, for somebody new or who is missed there."""
        return one.landmarks.score >= SURE or any(
            cost(track, one) < UNMATCHED for track in self._tracks if track.hidden
        )

    def _update(self, found: list[Candidate], shorter_side: int) -> None:
        """Give what was found to the tracks, and begin and end tracks."""
        pairs = self._pairs(found)
        for i, track in enumerate(self._tracks):
            if i in pairs:
                track.see(found[pairs[i]], track not in self._near_others)
            else:
                track.miss()
        fresh = [one for i, one in enumerate(found) if i not in pairs.values()]
        fresh = [one for one in fresh if one.roi.size >= SMALLEST * shorter_side]
        self._tracks += [Track(one.landmarks, one.roi, one.colours) for one in fresh]
        for track in [one for one in self._tracks if not _is_kept(one)]:
            self._tracks.remove(track)
            if track.track_id is not None:
                self._places.left(track)
        self._tracks = self._places.limited(self._tracks)

    def _number(self, image: UInt8[np.ndarray, "h w 3"], alone: bool) -> None:
        """Give numbers to those who count from now on."""
        for track in [one for one in self._tracks if one.track_id is None]:
            if not (alone or self._places.has_come(image, track, self._tracks)):
                continue
            room = self._places.with_room_for(track, self._tracks)
            if room is not None:
                self._tracks = room
                self._last_id += 1
                track.track_id = self._last_id

    def _pairs(self, found: list[Candidate]) -> dict[int, int]:
        """Return which track is continued by which candidate."""
        if not self._near_others and [one.track for one in found] == self._tracks:
            return {i: i for i in range(len(found))}  # everybody far from everybody else
        costs = np.array([[cost(track, one) for one in found] for track in self._tracks])
        return dict(assign(costs.reshape(len(self._tracks), len(found)), UNMATCHED))


def _is_kept(track: Track) -> bool:
    if track.track_id is None:
        return not track.hidden
    return track.hidden <= FORGET_AFTER


def open_people_tracker(
    backend: str = "auto", network: LandmarkNetwork = "full", max_people: int = 4
) -> PeopleTracker | OnePersonTracker:
    """Open a tracker with both networks on `backend`; the first use imports them.

    Args:
        backend: as for `engines.backends.engine.open_engine`.
        network: that finds the landmarks.
        max_people: N; for one person it is `engines.blazepose.tracker.PoseTracker`.
    """
    landmarker = open_landmarker(backend, network, max_people)  # first, as it may refuse
    detector = open_detector(backend)
    if max_people == 1:
        return OnePersonTracker(PoseTracker(detector, landmarker))
    return PeopleTracker(detector.people, landmarker.each, max_people)
