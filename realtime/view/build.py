"""Builds the scene of each frame in turn, and remembers what trails, charts and ghosts need.

    build = SceneBuilder(body)
    scene = build(view_frame)

The memory is a few seconds long and belongs to the view alone: nothing of it is published. Frames
that go back in time, after the user has moved in a recording, clear it.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from engines.body import BodyModel
from engines.covariance import std_from_cov
from engines.types import NUM_JOINTS, PARENTS, Hypotheses, Person, PersonMesh, World
from realtime.view.colors import std_colors
from realtime.view.geometry import frustum, level_world
from realtime.view.scene import History, Limb, PersonScene, Scene, ViewConfig, ViewFrame

LIMBS: dict[str, tuple[int, ...]] = {
    "head": (12, 15),
    "left arm": (18, 20),
    "right arm": (19, 21),
    "left leg": (4, 7),
    "right leg": (5, 8),
}
"""The joints that each limb is described by."""
_CHILDREN = [[c for c, p in enumerate(PARENTS) if p == j] for j in range(NUM_JOINTS)]
_FLOOR_RATE_S = 1.0
"""Time constant with which an assumed floor follows the lowest foot, seconds."""
_EMPTY = PersonMesh(np.zeros((0, 3)), np.zeros(0))


class SceneBuilder:
    """Makes scenes of people with one body model; one thread at a time."""

    def __init__(self, body: BodyModel, config: ViewConfig | None = None) -> None:
        self._body = body
        self._bone_weights = body.decimated.weights
        self._config = config or ViewConfig()
        self._memories: dict[int, _Memory] = {}
        self._time_s = -np.inf
        self._shot = 0
        self._height: float | None = None

    def __call__(self, frame: ViewFrame) -> Scene:
        """Return everything there is to see in a frame."""
        time_s = frame.estimate.frame.media_time_s
        shot = frame.estimate.frame.shot
        if time_s < self._time_s or shot != self._shot:
            self._shot = shot
            self._memories.clear()
            self._height = None
        elapsed_s = min(max(time_s - self._time_s, 0.0), 1.0)
        self._time_s = time_s
        self._forget(time_s)
        world = frame.estimate.world
        T_world_cam, floor_known = self._world(world, frame, elapsed_s)
        return Scene(
            frame=frame,
            people=tuple(
                self._person(frame, index, elapsed_s) for index in range(len(frame.estimate.people))
            ),
            T_world_cam=T_world_cam,
            upright="assumed" if world is None else world.source,
            floor_known=floor_known,
            frustum=frustum(frame.intrinsics, T_world_cam, self._frustum_depth(frame)),
        )

    def _forget(self, time_s: float) -> None:
        kept = self._config.history_s
        for track_id in [i for i, m in self._memories.items() if m.last_s < time_s - kept]:
            del self._memories[track_id]

    def _world(
        self, world: World | None, frame: ViewFrame, elapsed_s: float
    ) -> tuple[Float[np.ndarray, "4 4"], bool]:
        """Return T_world_cam and whether its floor was found."""
        if world is not None and np.isfinite(world.floor_std):
            return world.T_world_cam, True
        R = level_world(0.0)[:3, :3] if world is None else world.T_world_cam[:3, :3]
        lowest = _lowest(frame, R)
        if lowest is not None:
            share = 1.0 if self._height is None else 1 - np.exp(-elapsed_s / _FLOOR_RATE_S)
            before = lowest if self._height is None else self._height
            self._height = float(before + share * (lowest - before))
        T = np.eye(4)
        T[:3, :3] = R
        T[2, 3] = self._height if self._height is not None else 1.5
        return T, False

    def _frustum_depth(self, frame: ViewFrame) -> float:
        """Return where the live image is drawn: well in front of the nearest person, metres."""
        nearest = min((float(p.best.joints[0, 2]) for p in frame.estimate.people), default=3.0)
        return float(np.clip(0.15 * nearest, 0.25, self._config.frustum_m))

    def _person(self, frame: ViewFrame, index: int, elapsed_s: float) -> PersonScene:
        config, person = self._config, frame.estimate.people[index]
        surface = frame.surfaces[index] if frame.surfaces else _EMPTY
        std = std_from_cov(person.joint_cov)
        memory = self._memories.setdefault(person.track_id, _Memory(person.joint_visible))
        memory.update(self._time_s, elapsed_s, person, std, config)
        candidates = np.array(sorted(config.ellipsoid_joints))
        return PersonScene(
            track_id=person.track_id,
            followed=index == 0,
            vertices=surface.vertices,
            vertex_std=surface.std,
            vertex_colors=std_colors(surface.std, config.max_std_cm),
            vertex_visible=self._vertex_visible(memory.visible, len(surface.vertices)),
            hypotheses=self._skinned(person, len(surface.vertices)),
            joints=person.best.joints,
            joint_cov=person.joint_cov,
            joint_std=std,
            joint_colors=std_colors(std, config.max_std_cm),
            joint_visible=person.joint_visible,
            ellipsoid_joints=candidates[std[candidates] * 100.0 > config.ellipsoid_min_std_cm],
            landmarks=person.landmarks.xyv,
            limbs=limbs_of(std, person.joint_visible),
            distance=float(person.best.joints[0] @ person.ray),
            distance_std=person.distance_std,
            trail=memory.trail(config.trail_s),
            history=memory.history(),
        )

    def _vertex_visible(
        self, joint_visible: Float[np.ndarray, "24"], count: int
    ) -> Float[np.ndarray, "V"]:
        if not count:
            return np.zeros(0)
        return self._bone_weights @ bone_visible(joint_visible)

    def _skinned(self, person: Person, count: int) -> Float[np.ndarray, "S V 3"]:
        """Return the bodies of a few hypotheses, at the place of the best estimate."""
        if not count:
            return np.zeros((0, 0, 3))
        picks = sample(person.hypotheses, self._config.hypotheses)
        bodies = person.hypotheses
        posed = self._body.shaped(bodies.betas[picks]).posed(
            bodies.rotvec[picks], bodies.transl[picks]
        )
        moved = displacements(person, picks)
        return posed.vertices("decimated") + moved[:, None]


def limbs_of(std: Float[np.ndarray, "24"], visible: Float[np.ndarray, "24"]) -> tuple[Limb, ...]:
    """Return what is said about each limb.

    Args:
        std: Of the joints, metres.
        visible: Probability that each joint is visible.
    """
    return tuple(
        Limb(name, float(np.sqrt(np.mean(std[list(js)] ** 2))), float(np.mean(visible[list(js)])))
        for name, js in LIMBS.items()
    )


def bone_visible(joint_visible: Float[np.ndarray, "24"]) -> Float[np.ndarray, "24"]:
    """Return the probability that each bone, from its joint to the next ones, is visible."""
    return np.array(
        [
            0.5 * (joint_visible[j] + joint_visible[c].mean()) if c else joint_visible[j]
            for j, c in enumerate(_CHILDREN)
        ]
    )


def sample(hypotheses: Hypotheses, count: int) -> Int[np.ndarray, "S"]:
    """Return the indices of `count` hypotheses in proportion to their weights.

    Systematic resampling with a fixed offset: equal weights give evenly spaced indices, the same in
    every frame, so that a hypothesis that keeps its z keeps its place in the view too.
    """
    cumulative = np.cumsum(hypotheses.weights)
    picks = np.searchsorted(cumulative, (np.arange(count) + 0.5) / count * cumulative[-1])
    return np.minimum(picks, len(cumulative) - 1)


def displacements(person: Person, picks: Int[np.ndarray, "S"]) -> Float[np.ndarray, "S 3"]:
    """Return what moves hypotheses to the best estimate's distance and filtered place, metres.

    The best estimate is filtered over time, the hypotheses are of this frame alone. Without the
    filter's lag taken out they would differ everywhere from it while a person moves.
    """
    joints = person.hypotheses.joints
    lag = person.best.joints[0] - joints[0, 0]
    behind = (joints[picks, 0] - joints[0, 0]) @ person.ray
    return lag - behind[:, None] * person.ray


def _lowest(frame: ViewFrame, R_world_cam: Float[np.ndarray, "3 3"]) -> float | None:
    """Return how far the lowest point of all people lies below the camera, metres."""
    points = [s.vertices for s in frame.surfaces if len(s.vertices)]
    points = points or [person.best.joints for person in frame.estimate.people]
    if not points:
        return None
    return -float(min((p @ R_world_cam[2]).min() for p in points))


@dataclass
class _Memory:
    """What is remembered of one track."""

    visible: Float[np.ndarray, "24"]
    """Smoothed over time."""
    last_s: float = 0.0
    times: deque[float] = field(default_factory=deque)
    stds: deque[Float[np.ndarray, "24"]] = field(default_factory=deque)
    pelvises: deque[Float[np.ndarray, "3"]] = field(default_factory=deque)

    def update(
        self,
        time_s: float,
        elapsed_s: float,
        person: Person,
        std: Float[np.ndarray, "24"],
        config: ViewConfig,
    ) -> None:
        share = 1.0 - np.exp(-elapsed_s / config.visible_rate_s)
        self.visible = self.visible + share * (person.joint_visible - self.visible)
        self.last_s = time_s
        self.times.append(time_s)
        self.stds.append(std)
        self.pelvises.append(person.best.joints[0])
        while self.times[0] < time_s - config.history_s:
            for queue in (self.times, self.stds, self.pelvises):
                queue.popleft()

    def trail(self, seconds: float) -> Float[np.ndarray, "T 3"]:
        first = sum(t < self.last_s - seconds for t in self.times)
        return np.array(self.pelvises)[first:]

    def history(self) -> History:
        return History(np.array(self.times), np.array(self.stds))
