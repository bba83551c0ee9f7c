"""Keep left and right apart through time.

The landmark network sometimes takes the left side for the right one, with high visibility and for
up to a second; one image does not tell. But people do not jump: where the labels of one image,
exchanged, continue those of the images before, and as they are do not, the network has changed its
mind and not the person. Then `SideContinuity` exchanges them back, arms and legs for themselves.

Which of the two labellings is right in the first place, continuity cannot say. So the network is
believed after a reset, wherever left and right coincide in the image (a person seen from the side),
and when it has contradicted the labels for longer than it agreed with them. It mostly exchanges a
whole body: while it is known to exchange the arms it is not believed about the legs, and the other
way round. And shoulders and hips face the same way: where by the labels they do not, those are
exchanged about which less is known.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float

from engines.types import LIMB_LANDMARKS, MIRRORED_LANDMARKS, Landmarks

_MIRRORED = np.array(MIRRORED_LANDMARKS)
_FACE = np.arange(11)
_ARMS, _LEGS = np.arange(11, 23), np.arange(23, 33)
_ARM_JOINTS, _LEG_JOINTS = np.arange(11, 17), np.arange(23, 29)
_LIMBS = np.array(list(LIMB_LANDMARKS))
_TORSO = np.array([11, 12, 23, 24])


@dataclass(frozen=True)
class SideConfig:
    """When labels count as exchanged. Lengths are in half sizes of the person in the image."""

    ratio: float = 0.35
    """One labelling continues the reference if it is closer than this times the other."""
    coincide: float = 0.1
    """Mean distance of left from right below which continuity says nothing, if they came together
    and did not jump there."""
    patience: int = 8
    """Images without a clear answer after which the network is believed."""
    memory: int = 60
    """The longest agreement, in images, that a contradiction must outlast."""


@dataclass
class _Group:
    """What is remembered of the arms or of the legs."""

    joints: np.ndarray
    """Landmarks that are compared."""
    landmarks: np.ndarray
    """Landmarks that are exchanged."""
    reference: Float[np.ndarray, "33 2"] | None = None
    """The last image with a clear answer, its labels as they were returned."""
    unclear: int = 0
    """Images since then."""
    agreement: int = 0
    """Images in which the network agreed with the labels, less those in which it did not."""
    exchanged: bool = False

    def restart(self, points: Float[np.ndarray, "33 2"] | None, exchanged: bool = False) -> None:
        """Begin anew with the network's labels, or with these exchanged."""
        self.reference = points
        self.unclear = 0
        self.agreement = 0
        self.exchanged = exchanged


@dataclass
class SideContinuity:
    """Labels of one person through consecutive images; one for each person."""

    config: SideConfig = field(default_factory=SideConfig)
    _groups: tuple[_Group, _Group] = field(
        default_factory=lambda: (_Group(_ARM_JOINTS, _ARMS), _Group(_LEG_JOINTS, _LEGS))
    )

    def reset(self) -> None:
        """Forget, as after a cut or with another person."""
        for group in self._groups:
            group.restart(None)

    def __call__(self, landmarks: Landmarks) -> Landmarks:
        """Return the landmarks of the next image with continuous labels."""
        points = landmarks.points
        arms, legs = self._groups
        self._update(arms, legs, points)
        self._update(legs, arms, points)
        self._untwist(points)
        if not (arms.exchanged or legs.exchanged):
            return landmarks
        order = np.arange(len(points))
        for group in self._groups:
            if group.exchanged:
                order[group.landmarks] = _MIRRORED[group.landmarks]
        if arms.exchanged:
            order[_FACE] = _MIRRORED[_FACE]
        return replace(
            landmarks,
            points=points[order],
            depth=landmarks.depth[order],
            visibility=landmarks.visibility[order],
            presence=landmarks.presence[order],
            peak=landmarks.peak[order],
            world=landmarks.world[order],
        )

    def _untwist(self, points: Float[np.ndarray, "33 2"]) -> None:
        """Turn the half of the body about whose labels less is known, if it faces the other way."""
        shoulders, hips = (
            (points[left] - points[right]) * (-1 if group.exchanged else 1)
            for group, left, right in zip(self._groups, (11, 23), (12, 24), strict=True)
        )
        narrow = self.config.coincide * _half_size(points)
        if shoulders @ hips >= 0 or min(math.hypot(*shoulders), math.hypot(*hips)) < narrow:
            return
        turned = min(
            self._groups, key=lambda one: (not one.unclear, one.agreement, not one.exchanged)
        )
        labelled = points if turned.exchanged else points[_MIRRORED]
        turned.restart(labelled, exchanged=not turned.exchanged)

    def _restart(self, group: _Group, other: _Group, points: Float[np.ndarray, "33 2"]) -> None:
        """Believe the network, unless it is known to exchange the other half of the body."""
        exchanged = other.exchanged and other.agreement >= self.config.patience
        group.restart(points[_MIRRORED] if exchanged else points, exchanged)

    def _update(self, group: _Group, other: _Group, points: Float[np.ndarray, "33 2"]) -> None:
        """Decide whether the network's labels of this image are to be exchanged."""
        half_size = _half_size(points)
        if group.reference is None:
            self._restart(group, other, points)
            return
        mirrored = points[_MIRRORED]
        here, there = points[group.joints], mirrored[group.joints]
        before = group.reference[group.joints]
        apart = _distance(here, there)
        as_labelled = _distance(here, before)
        if_exchanged = _distance(there, before)
        together = apart < self.config.coincide * half_size
        if together and min(as_labelled, if_exchanged) < self.config.coincide * half_size:
            self._restart(group, other, points)
            return
        clear = True
        if together:  # of a sudden: one side was found twice, and says nothing
            clear = False
        elif as_labelled < self.config.ratio * if_exchanged:
            group.exchanged = False
        elif if_exchanged < self.config.ratio * as_labelled:
            group.exchanged = True
        else:
            clear = False
        group.agreement += -1 if group.exchanged else 1
        group.agreement = min(group.agreement, self.config.memory)
        group.unclear = 0 if clear else group.unclear + 1
        if group.agreement < 0 or group.unclear > self.config.patience:
            self._restart(group, other, points)
        elif clear:
            group.reference = mirrored if group.exchanged else points

    @property
    def exchanged(self) -> Bool[np.ndarray, "2"]:
        """Whether the labels of the arms and of the legs were exchanged in the last image."""
        return np.array([group.exchanged for group in self._groups])


def _half_size(points: Float[np.ndarray, "33 2"]) -> float:
    """Half the person's size in px: twice the limbs' root mean square distance from the torso."""
    away = points[_LIMBS] - points[_TORSO].mean(0)
    return 2.0 * math.sqrt(np.vdot(away, away) / len(away)) + 1e-9


def _distance(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"]) -> float:
    """Mean distance of landmarks in px."""
    x, y = (a - b).T
    return float(np.hypot(x, y).mean())
