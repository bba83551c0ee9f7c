"""Fusion of what people tell about gravity, over time, for a camera that stands still.

Errors of one person in successive frames are alike: who leans, leans for a while, and who is taken
for leaning because of how they are built, always is. Modelled, in units of the predicted sigma, as
a part that stays (`persistent`, a share of the variance) and a part that decays within seconds (a
first-order autoregressive process, `correlation_s`). Of such a process the best linear estimate of
the mean counts the first sample fully and each further one

    (1 - r) / (1 + r)  with  r = exp(-dt / correlation_s)

(the interior weights of generalised least squares), so a person's n frames count as N = sum of
these. The part that stays does not average out: the variance of a mean is sigma^2 times
p + (1 - p) / N with p = `persistent`, so their information L becomes L / (1 + p (N - 1)).
Information of different people adds up, and `common` is what even many people leave open.

A sample that contradicts what is known counts less (weights of Student's t). Memory fades over
`memory_s`, of which a gap takes no more than `correlation_s`: an empty room makes nobody forget. A
second, short memory is compared with the long one, without the errors that stay, which both share:
if the two disagree for `moved_after_s`, the camera has moved, and only the short one is kept.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from engines.gravity.direction import Direction, direction_of, tangent_basis


@dataclass(frozen=True)
class FusionConfig:
    """How samples are weighed."""

    correlation_s: float = 1.0
    """Time constant of errors that decay."""
    persistent: float = 0.3
    """Share of the variance that stays with a person."""
    common: float = math.radians(1.0)
    """Standard deviation per axis of what all people have in common, radians."""
    tails: float = 4.0
    """Degrees of freedom of a sample's weight."""
    memory_s: float = 60.0
    """Time constant of forgetting, in seconds with somebody in view."""
    short_memory_s: float = 0.7
    """The same of the memory that notices movement."""
    moved: float = 10.0
    """Squared Mahalanobis distance of the two memories: a chance of 0.007 (chi-square, 2)."""
    moved_after_s: float = 1.5
    """How long they must disagree."""


@dataclass
class PersonEvidence:
    """What one person has told."""

    information: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.zeros((3, 3)))
    count: float = 0.0
    """Independent samples that their frames are worth."""
    unweighted: float = 0.0
    """The same if none had contradicted what was known."""
    last_s: float | None = None

    def add(self, sample: Direction, weight: float, t_s: float, correlation_s: float) -> None:
        """Add a frame. Whoever is in view counts as one sample at least, however much faded."""
        share = 1.0
        if self.last_s is not None:
            r = math.exp(-max(t_s - self.last_s, 0.0) / correlation_s)
            share = (1 - r) / (1 + r)
        self.information = self.information + weight * share * sample.information
        self.count += weight * share
        self.unweighted += share
        self.last_s = t_s
        self.scale(max(1.0, 1.0 / self.unweighted))

    def scale(self, factor: float) -> None:
        """Forget or restore a share."""
        self.information = factor * self.information
        self.count *= factor
        self.unweighted *= factor

    def effective(self, persistent: float) -> Float[np.ndarray, "3 3"]:
        """Their information, the part of the error that stays taken into account."""
        return self.information / (1.0 + persistent * (max(self.count, 1.0) - 1.0))


class GravityMemory:
    """Fused samples of all people, fading over `memory_s`."""

    def __init__(self, config: FusionConfig) -> None:
        self.config = config
        self._people: dict[int, PersonEvidence] = {}
        self.known: Direction | None = None
        """The fused direction; None before the first sample."""
        self._near = np.zeros(3)
        self._last_s: float | None = None

    def add(self, samples: dict[int, Direction], t_s: float) -> None:
        """Add one frame: a sample from each person, by track number."""
        if not samples:
            return
        known = self.known
        if self._last_s is not None:
            in_view_s = min(max(t_s - self._last_s, 0.0), self.config.correlation_s)
            factor = math.exp(-in_view_s / self.config.memory_s)
            for person in self._people.values():
                person.scale(factor)
            self._near = factor * self._near
        for track_id, sample in samples.items():
            weight = 1.0 if known is None else self._weight(known, sample)
            person = self._people.setdefault(track_id, PersonEvidence())
            person.add(sample, weight, t_s, self.config.correlation_s)
            self._near = self._near + sample.vector / max(sample.std, 1e-3) ** 2
        self._last_s = t_s
        self._people = {k: v for k, v in self._people.items() if v.count > _FORGOTTEN}
        self.known = self._fused()

    def _fused(self) -> Direction:
        information = np.zeros((3, 3))
        for person in self._people.values():
            information += person.effective(self.config.persistent)
        found = direction_of(information, self._near)
        B = tangent_basis(found.vector)
        return replace(found, cov=found.cov + self.config.common**2 * B @ B.T)

    def without_errors_that_stay(self) -> Direction | None:
        """The fused direction with the covariance of the errors that do not."""
        if not self._people:
            return None
        information = np.zeros((3, 3))
        for person in self._people.values():
            information += person.information
        return direction_of(information, self._near)

    def _weight(self, known: Direction, sample: Direction) -> float:
        tails = self.config.tails
        return min(1.0, (tails + 2) / (tails + known.squared_mahalanobis(sample)))


class GravityFilter:
    """Gravity of a camera that stands still, until it is moved."""

    def __init__(self, config: FusionConfig | None = None) -> None:
        self.config = config or FusionConfig()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._long = GravityMemory(self.config)
        self._short = self._fresh()
        self._disagree_since_s: float | None = None

    def _fresh(self) -> GravityMemory:
        """A short memory."""
        return GravityMemory(replace(self.config, memory_s=self.config.short_memory_s))

    def __call__(self, samples: dict[int, Direction], t_s: float) -> tuple[Direction | None, bool]:
        """Add one frame.

        Args:
            samples: what each person tells, by track number.
            t_s: time of the frame, seconds.

        Returns:
            The fused direction, None before the first sample; whether the camera turns out to have
            moved.
        """
        self._long.add(samples, t_s)
        self._short.add(samples, t_s)
        moved = bool(samples) and self._moved(t_s)
        if moved:
            self._long, self._short = self._restarted(), self._fresh()
            self._disagree_since_s = None
        return self._long.known, moved

    def _restarted(self) -> GravityMemory:
        """What the short memory holds, as a long one."""
        self._short.config = self.config
        return self._short

    def _moved(self, t_s: float) -> bool:
        long, short = (one.without_errors_that_stay() for one in (self._long, self._short))
        if long is None or short is None or long.squared_mahalanobis(short) < self.config.moved:
            self._disagree_since_s = None
            return False
        if self._disagree_since_s is None:
            self._disagree_since_s = t_s
        return t_s - self._disagree_since_s >= self.config.moved_after_s


_FORGOTTEN = 1e-3
"""Count of samples below which a person is dropped from the memory."""
