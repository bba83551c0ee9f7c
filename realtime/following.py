"""Whom single-person consumers follow: the first of an estimate's people.

The choice has hysteresis: it passes to somebody else only if that person was clearly better for
`PATIENCE_S`, so it does not flip between two who stand side by side. Who gets out of sight is
waited for as long; meanwhile the best of the others is first.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.errors import PenumbraError
from engines.types import Person

CLEARLY = 0.8
"""Somebody is clearly better whose distance is at most this times that of the one followed."""
PATIENCE_S = 0.5
CHOICES = ("nearest", "largest", "centre")


@dataclass(frozen=True)
class _Followed:
    track_id: int
    since_s: float
    """Since when somebody else is clearly better, or the person is out of sight; nan: neither."""


class Follower:
    """Orders the people of each frame; `follow` may be called from another thread."""

    def __init__(self, choice: str) -> None:
        """Take whom to follow.

        Args:
            choice: one of `CHOICES`, or a track's number.

        Raises:
            PenumbraError: It is neither.
        """
        self._criterion, asked = parse(choice)
        self._lock = threading.Lock()
        self._asked = asked
        self._followed: _Followed | None = None

    def follow(self, track_id: int | None) -> None:
        """Follow a person from the next frame on, from any thread.

        Args:
            track_id: of the person, whom no other replaces while in sight; None to choose by the
                criterion again.
        """
        with self._lock:
            self._asked = track_id
            self._followed = None

    def reset(self) -> None:
        """Choose anew in the next frame, which has nothing to do with the last one."""
        with self._lock:
            self._followed = None

    def __call__(
        self, people: Sequence[Person], image_size: tuple[int, int], t_s: float
    ) -> tuple[int, ...]:
        """Return the order of a frame's people: the one followed, then the others by number.

        Args:
            people: of the frame.
            image_size: width and height, px.
            t_s: time of the frame, seconds.
        """
        if not people:
            return ()
        with self._lock:
            first = self._first(people, image_size, t_s)
        others = sorted(
            (i for i in range(len(people)) if i != first), key=lambda i: people[i].track_id
        )
        return (first, *others)

    def _first(self, people: Sequence[Person], image_size: tuple[int, int], t_s: float) -> int:
        numbers = [person.track_id for person in people]
        distances = [self._distance(person, image_size) for person in people]
        best = int(np.argmin(distances))
        if self._asked in numbers:
            return numbers.index(self._asked)
        now = self._followed
        if now is None:
            self._followed = _Followed(numbers[best], math.nan)
            return best
        present = numbers.index(now.track_id) if now.track_id in numbers else None
        if present is not None and distances[best] > CLEARLY * distances[present]:
            self._followed = _Followed(now.track_id, math.nan)
            return present
        since_s = t_s if math.isnan(now.since_s) or t_s < now.since_s else now.since_s
        if t_s - since_s >= PATIENCE_S:
            self._followed = _Followed(numbers[best], math.nan)
            return best
        self._followed = _Followed(now.track_id, since_s)
        return best if present is None else present

    def _distance(self, person: Person, image_size: tuple[int, int]) -> float:
        """How far a person is from being the one to follow, above zero."""
        if self._criterion == "largest":
            return 1.0 / person.landmarks.roi.size
        if self._criterion == "centre":
            away = person.landmarks.roi.center - np.array(image_size) / 2
            return 1.0 + float(np.linalg.norm(away))
        return float(np.linalg.norm(person.best.joints[0]))


def parse(choice: str) -> tuple[str, int | None]:
    """Return the criterion and the number that a choice names.

    Raises:
        PenumbraError: It names neither.
    """
    if choice in CHOICES:
        return choice, None
    if choice.isascii() and choice.isdigit():
        return CHOICES[0], int(choice)
    raise PenumbraError(
        f"person: '{choice}' is none to follow; give {', '.join(CHOICES)} or a person's number."
    )
