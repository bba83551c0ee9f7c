"""The floor: how far below the camera the soles of feet at rest are.

A foot counts while it is more likely visible than not, has hardly moved for `rest_s` (across the
viewing ray, along which positions waver), and is the lowest that is visible of its person: not who
jumps, does a handstand, or is cut off at the knees. Someone on a chair or a step is higher than the
floor and nobody is lower, so a sample above the estimate counts little, and one below makes the
estimate forget.

Of each person a running mean of foot positions is kept, in the camera frame: when gravity becomes
better known, the height follows. Errors are modelled as in `engines.gravity.fusion`:
a share of the variance stays with a person, such as that they are taken to be taller than they are,
and does not average out. What all people share is added at the end: the uncertainty of gravity,
which counts as much as the feet are far from the camera, and that of an assumed focal length. A
longer one puts the same body farther along the optical axis, but no farther off it, so a level
camera knows its height whatever its focal length is, and one that looks down does not.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from engines.body import BodyModel
from engines.camera import axis_std_by_focal
from engines.gravity.direction import Direction
from engines.types import JOINT_NAMES, Person

_ANKLES = [JOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]
_BALLS = [JOINT_NAMES.index(f"{side}_foot") for side in ("left", "right")]


@dataclass(frozen=True)
class FloorConfig:
    """What a foot at rest is, and how it counts."""

    rest_s: float = 0.3
    """How long a foot must rest."""
    rest_m: float = 0.05
    """By how much it may move meanwhile. Around the highest point of a jump it is 0.11 m."""
    lowest_m: float = 0.12
    """By how much another visible joint may lie below the sole."""
    correlation_s: float = 1.0
    """Time constant of errors that decay."""
    persistent: float = 0.5
    """Share of the variance that stays with a person."""
    floor_m: float = 0.02
    """Standard deviation of where a sole lies below its joints, metres."""
    above: float = 2.0
    """Samples higher than this many sigma count little."""
    below: float = 3.0
    """Samples lower than this many sigma make the estimate forget."""
    memory_s: float = 60.0
    """Time constant of forgetting, in seconds with feet at rest."""
    enough: float = 1.5
    """Independent samples from which on a floor counts as found."""


@dataclass(frozen=True)
class Floor:
    """The floor below the camera."""

    height: float
    """Of the camera above it, metres."""
    std: float
    """Standard deviation of that, metres; infinite where no foot has rested and it is a guess."""


@dataclass(frozen=True)
class _Sole:
    """The lower foot of a person."""

    position: Float[np.ndarray, "3"]
    """Of the sole, camera frame, metres."""
    variance: float
    """Of its height, square metres, without what all people share."""


@dataclass
class _Track:
    """What one person's feet have told."""

    history: deque[tuple[float, Float[np.ndarray, "2 3"]]] = field(default_factory=deque)
    """Times and positions of both ankles, over the last `rest_s`."""
    weight: float = 0.0
    """Sum of the samples' inverse variances."""
    position: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    """Weighted sum of the soles' positions."""
    count: float = 0.0
    last_s: float | None = None

    def variance(self, persistent: float) -> float:
        """Of the mean height, square metres, with the part of the error that stays."""
        return (1.0 + persistent * (max(self.count, 1.0) - 1.0)) / self.weight

    def fade(self, factor: float) -> None:
        """Forget a share."""
        self.weight *= factor
        self.position = factor * self.position
        self.count *= factor


class FloorFilter:
    """The floor of a camera that stands still."""

    def __init__(self, body: BodyModel, config: FloorConfig | None = None) -> None:
        """Measure how high ankles and balls of the feet are above the soles."""
        self.config = config or FloorConfig()
        lowest = float(body.full.v_template[:, 1].min())
        self._ankle_m = float(body.J_template[_ANKLES, 1].mean()) - lowest
        self._ball_m = float(body.J_template[_BALLS, 1].mean()) - lowest
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._people: dict[int, _Track] = {}
        self._guess = _Track()

    def __call__(
        self, people: tuple[Person, ...], up: Direction, t_s: float, focal_error: float
    ) -> Floor:
        """Add one frame.

        Args:
            people: camera frame.
            up: gravity, as far as it is known.
            t_s: time of the frame, seconds.
            focal_error: relative standard deviation of the focal length.

        Returns:
            The floor, or a guess of where it is.
        """
        for person in people:
            sole = self._sole(person, up.vector)
            self._add_guess(sole, t_s)
            track = self._people.pop(person.track_id, None) or _Track()
            self._people[person.track_id] = track  # the last that was in view is the last
            if self._rests(track, person, up.vector, t_s):
                self._add(track, sole, up.vector, t_s)
        while len(self._people) > _MOST_PEOPLE:
            del self._people[next(iter(self._people))]
        return self._floor(up, focal_error)

    def _sole(self, person: Person, up: Float[np.ndarray, "3"]) -> _Sole:
        """The lowest sole: below an ankle or the ball of a foot."""
        joints = person.best.joints
        soles = [
            (joints[joint] - offset * up, joint)
            for joints_of, offset in ((_ANKLES, self._ankle_m), (_BALLS, self._ball_m))
            for joint in joints_of
        ]
        position, joint = min(soles, key=lambda sole: float(up @ sole[0]))
        own = (person.ray_std * float(up @ person.ray)) ** 2  # all people share the focal length
        variance = float(up @ person.joint_cov[joint] @ up) + own
        return _Sole(position, variance + self.config.floor_m**2)

    def _rests(self, track: _Track, person: Person, up: Float[np.ndarray, "3"], t_s: float) -> bool:
        """Whether the lower foot is visible, at rest, and the lowest that is visible."""
        config, history, joints = self.config, track.history, person.best.joints
        history.append((t_s, joints[_ANKLES]))
        while len(history) > 1 and t_s - history[1][0] >= config.rest_s:
            history.popleft()
        if t_s - history[0][0] < config.rest_s:
            return False
        heights = joints @ up
        foot = int(heights[_ANKLES].argmin())
        if person.joint_visible[_ANKLES[foot]] < 0.5:
            return False
        across = np.eye(3) - np.outer(person.ray, person.ray)
        moved = [across @ (past[foot] - joints[_ANKLES[foot]]) for _, past in history]
        if np.linalg.norm(moved, axis=-1).max() > config.rest_m:
            return False
        sole = min(
            heights[_ANKLES[foot]] - self._ankle_m,
            heights[_BALLS[foot]] - self._ball_m,
        )
        visible = person.joint_visible >= 0.5
        return bool(heights[visible].min() > sole - config.lowest_m)

    def _add(self, track: _Track, sole: _Sole, up: Float[np.ndarray, "3"], t_s: float) -> None:
        config, share = self.config, 1.0
        if track.last_s is not None:
            dt = max(t_s - track.last_s, 0.0)
            r = math.exp(-dt / config.correlation_s)
            share = (1 - r) / (1 + r)
            track.fade(math.exp(-min(dt, config.correlation_s) / config.memory_s))
        if track.weight > 0:
            away = float(up @ (sole.position - track.position / track.weight))
            away /= math.sqrt(sole.variance)
            if away > config.above:
                share *= (config.above / away) ** 2
            elif away < -config.below:
                track.fade(0.8)
        track.weight += share / sole.variance
        track.position = track.position + share / sole.variance * sole.position
        track.count += share
        track.last_s = t_s

    def _add_guess(self, sole: _Sole, t_s: float) -> None:
        """A mean of soles, at rest or not, visible or not."""
        guess = self._guess
        if guess.last_s is not None:
            guess.fade(math.exp(-max(t_s - guess.last_s, 0.0) / _GUESS_MEMORY_S))
        guess.weight += 1.0
        guess.position = guess.position + sole.position
        guess.last_s = t_s

    def _floor(self, up: Direction, focal_error: float) -> Floor:
        found = [track for track in self._people.values() if track.count >= self.config.enough]
        if not found:
            if self._guess.weight == 0:
                return Floor(_USUAL_HEIGHT_M, math.inf)
            return Floor(-float(up.vector @ self._guess.position) / self._guess.weight, math.inf)
        positions = np.array([track.position / track.weight for track in found])
        own = [track.variance(self.config.persistent) for track in found]
        cov = np.diag(own) + positions @ up.cov @ positions.T
        heights = positions @ up.vector
        together = self._lowest_who_agree(heights, cov)
        share = together / np.diag(cov)
        share /= share.sum()
        height = -float(share @ heights)
        by_focal = axis_std_by_focal(focal_error, float(share @ positions[:, 2])) * up.vector[2]
        variance = float(share @ cov @ share + by_focal**2)
        return Floor(height, math.sqrt(variance))

    def _lowest_who_agree(
        self, heights: Float[np.ndarray, "P"], cov: Float[np.ndarray, "P P"]
    ) -> Bool[np.ndarray, "P"]:
        """Tell whose soles are as low as the lowest, as far as can be told.

        Args:
            heights: of the soles of each person, metres.
            cov: of these; an error of gravity moves who is far more than who is near.
        """
        lowest = int(heights.argmin())
        difference = np.diag(cov) + cov[lowest, lowest] - 2 * cov[lowest]
        away = heights - heights[lowest]
        return away**2 <= self.config.below**2 * np.maximum(difference, 0.0)


_GUESS_MEMORY_S = 5.0
"""Time constant of the guess before a floor is found."""
_USUAL_HEIGHT_M = 1.5
"""Of a camera before anybody was in view."""
_MOST_PEOPLE = 32
"""Who are remembered; the longest out of view are forgotten first."""
