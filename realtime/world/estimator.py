"""People of one frame after the other in, the world that the camera stands in out."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.gravity.direction import Direction
from engines.gravity.fusion import FusionConfig, GravityFilter
from engines.gravity.network import GravityNetwork
from engines.types import Person, World
from realtime.world.floor import Floor, FloorConfig, FloorFilter
from realtime.world.frames import tilt_cov, world_from_camera


@dataclass(frozen=True)
class WorldConfig:
    """What is known, and how the rest is estimated."""

    T_world_cam: Float[np.ndarray, "4 4"] | None = None
    """Of a calibrated camera: z up, the floor at z = 0."""
    up: Float[np.ndarray, "3"] | None = None
    """Vector against gravity in the camera frame, where it is known."""
    sample_s: float = 0.1
    """How often each person is asked for gravity. Errors hang together over a second and frames are
    weighed accordingly, so the frames in between would add hardly anything: on real footage the
    fused direction is the same to 0.3 degrees, sigma to 0.1."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    floor: FloorConfig = field(default_factory=FloorConfig)


class WorldEstimator:
    """Gravity and floor of a camera that stands still; notices when it is moved."""

    def __init__(
        self, network: GravityNetwork, body: BodyModel, config: WorldConfig | None = None
    ) -> None:
        self.config = config or WorldConfig()
        self._network = network
        self._gravity = GravityFilter(self.config.fusion)
        self._floor = FloorFilter(body, self.config.floor)
        self._asked_s: dict[int, float] = {}
        self._last_s: float | None = None

    def reset(self) -> None:
        """Forget what was learned: the next frame may come from another place."""
        self._gravity.reset()
        self._floor.reset()
        self._asked_s.clear()
        self._last_s = None

    def __call__(
        self, people: tuple[Person, ...], t_s: float, focal_error: float = 0.0
    ) -> World | None:
        """Add one frame.

        Args:
            people: everybody in it.
            t_s: time of the frame, seconds; where it runs backwards, everything starts afresh.
            focal_error: relative standard deviation of the focal length; zero when calibrated.

        Returns:
            The world; None as long as nothing is known.
        """
        if self.config.T_world_cam is not None:
            return World(self.config.T_world_cam, np.zeros((2, 2)), 0.0, "given")
        if self._last_s is not None and t_s < self._last_s:
            self.reset()
        self._last_s = t_s
        up = self._up(people, t_s)
        if up is None:
            return None
        floor = self._floor(people, up, t_s, focal_error)
        return _world(up, floor, self._source)

    @property
    def _source(self) -> Literal["estimated", "given"]:
        return "estimated" if self.config.up is None else "given"

    def _up(self, people: tuple[Person, ...], t_s: float) -> Direction | None:
        if self.config.up is not None:
            up = np.asarray(self.config.up, float)
            return Direction(up / np.linalg.norm(up), np.zeros((3, 3)))
        samples = {one.track_id: self._network(one) for one in people if self._is_due(one, t_s)}
        self._asked_s = {one.track_id: self._asked_s[one.track_id] for one in people}
        up, moved = self._gravity(samples, t_s)
        if moved:
            self._floor.reset()
        return up

    def _is_due(self, person: Person, t_s: float) -> bool:
        """Whether to ask a person now, and if so note that."""
        asked_s = self._asked_s.get(person.track_id)
        due = asked_s is None or t_s - asked_s > self.config.sample_s - _ROUNDING_S
        if due:
            self._asked_s[person.track_id] = t_s
        return due


def _world(up: Direction, floor: Floor, source: Literal["estimated", "given"]) -> World:
    T = world_from_camera(up.vector, floor.height)
    return World(T, tilt_cov(up, T), floor.std, source)


_ROUNDING_S = 1e-3
"""Time stamps are rounded: a tenth of a second at 30 frames a second is every third frame."""
