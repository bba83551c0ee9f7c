"""Recorded motion, noisy or incomplete, to the motion that most probably lies behind it.

    denoise(model, shape, JointMeasurements(...)) -> BodySequence
    denoise(model, shape, RotationMeasurements(...)) -> BodySequence

Joints that are not visible say nothing and are completed. First a calm motion is fitted:
bodies that hardly move from frame to frame, each of them likely by itself. From there the motion
prior takes over, with contacts and the floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from engines.errors import PenumbraError
from engines.fitting.residuals import Residuals
from engines.fitting.sequences.floor import FloorContact, FloorContactConfig, MotionModel
from engines.fitting.sequences.observations import (
    Calm,
    EachFrame,
    JointPositions,
    Rotations,
    Shape,
)
from engines.fitting.sequences.sequence import FEWEST_FRAMES, BodySequence, SequenceResiduals
from engines.fitting.sequences.solver import solve_sequence
from engines.types import NUM_JOINTS

_TORSO = (0, 1, 2, 3, 6, 9, 12, 16, 17)
"""Joints that hardly move against each other: pelvis, hips, spine, neck, shoulders."""


@dataclass(frozen=True)
class JointMeasurements:
    """Where joints are, in a world that is z up, the floor at z = 0."""

    joints: Float[np.ndarray, "T 24 3"]
    """Metres."""
    visible: Bool[np.ndarray, "T 24"]
    sigma: float
    """Standard deviation per axis, metres."""

    def __post_init__(self) -> None:
        _check_visible("joints", self.joints, self.visible)
        _check_sigma("sigma", self.sigma)


@dataclass(frozen=True)
class RotationMeasurements:
    """How joints are turned, in a world that is z up, the floor at z = 0."""

    R: Float[np.ndarray, "T 24 3 3"]
    """Of each joint relative to its parent, of the root relative to the world."""
    pelvis: Float[np.ndarray, "T 3"]
    """Metres."""
    visible: Bool[np.ndarray, "T 24"]
    sigma: float
    """Standard deviation per axis, radians."""
    pelvis_sigma: float
    """The same of the pelvis, metres."""

    def __post_init__(self) -> None:
        _check_visible("R", self.R, self.visible)
        _check_visible("pelvis", self.pelvis, np.ones(len(self.visible), bool))
        _check_sigma("sigma", self.sigma)
        _check_sigma("pelvis_sigma", self.pelvis_sigma)


@dataclass(frozen=True)
class DenoiseConfig:
    """How motion is fitted."""

    calm: Calm = field(default_factory=Calm)
    calm_iterations: int = 15
    iterations: int = 30
    floor: FloorContactConfig | None = field(default_factory=FloorContactConfig)
    """None leaves contacts and the floor out."""
    calm_body_weight: float = 0.3
    """Factor on what single bodies cost while a calm motion is fitted."""
    body_weight: float = 0.1
    """The same afterwards: frames of a motion are no independent bodies."""
    pose_prior: Residuals | None = None
    """Of single bodies; what the model knows of them when None."""


def denoise(
    model: MotionModel,
    shape: Shape,
    measured: JointMeasurements | RotationMeasurements,
    sole_m: Float[np.ndarray, "4"],
    config: DenoiseConfig | None = None,
) -> BodySequence:
    """Fit a motion of at least three frames, 30 a second.

    Args:
        model: the motion prior.
        shape: the body that moves.
        measured: what is known of it.
        sole_m: height of each of `floor.FEET` above the sole of a standing body, metres.
        config: of the fit; the default one when None.

    Raises:
        PenumbraError: the sequence has fewer frames.
    """
    if len(measured.visible) < FEWEST_FRAMES:
        raise PenumbraError(
            f"measured: {len(measured.visible)} frames are too few; give at least {FEWEST_FRAMES}."
        )
    config = config or DenoiseConfig()
    data = _residuals(shape, measured)
    calm: list[SequenceResiduals] = [data, config.calm]
    terms: list[SequenceResiduals] = [data, model]
    if config.floor is not None:
        terms.append(FloorContact(shape, model, sole_m, config.floor))
    for some, weight in ((calm, config.calm_body_weight), (terms, config.body_weight)):
        if config.pose_prior is None:
            some.append(model.bodies(weight))
        else:
            some.append(EachFrame(shape, config.pose_prior, weight))
    begun = solve_sequence(start_of(shape, measured), calm, config.calm_iterations)
    return solve_sequence(begun.sequence, terms, config.iterations).sequence


def _check_visible(name: str, values: np.ndarray, visible: Bool[np.ndarray, "*T"]) -> None:
    if values.shape[: visible.ndim] != visible.shape:
        raise PenumbraError(
            f"{name}: the shape {values.shape} does not fit {visible.shape} of visible; give a "
            "value for each."
        )
    if not np.isfinite(values[visible]).all():
        raise PenumbraError(
            f"{name}: what is visible must be finite; correct it, or mark it as not visible."
        )


def _check_sigma(name: str, sigma: float) -> None:
    if not 0.0 < sigma < np.inf:
        raise PenumbraError(f"{name}: must be positive and finite, not {sigma}.")


def _residuals(
    shape: Shape, measured: JointMeasurements | RotationMeasurements
) -> SequenceResiduals:
    sigma = np.full(measured.visible.shape, measured.sigma)
    if isinstance(measured, JointMeasurements):
        return JointPositions(shape, measured.joints, sigma, measured.visible)
    return Rotations(measured.R, sigma, measured.visible, measured.pelvis, measured.pelvis_sigma)


def start_of(shape: Shape, measured: JointMeasurements | RotationMeasurements) -> BodySequence:
    """The measured rotations; or the body at rest, turned as the visible torso is."""
    nothing = np.zeros(0)
    eye = np.eye(3)
    if isinstance(measured, RotationMeasurements):
        R = np.where(measured.visible[..., None, None], measured.R, eye)
        return BodySequence(R, measured.pelvis.copy(), nothing)
    count = len(measured.joints)
    R = np.tile(eye, (count, NUM_JOINTS, 1, 1))
    rest = shape.joints(BodySequence(R[:1], np.zeros((1, 3)), nothing))[0]
    pelvis = np.zeros((count, 3))
    placed = [
        _aligned(rest, joints, visible)
        for joints, visible in zip(measured.joints, measured.visible, strict=True)
    ]
    known = [i for i, place in enumerate(placed) if place is not None]
    for i in range(count):
        nearest = min(known, key=lambda k: abs(k - i), default=None)
        place = None if nearest is None else placed[nearest]
        if place is not None:
            R[i, 0], pelvis[i] = place
    return BodySequence(R, pelvis, nothing)


def _aligned(
    rest: Float[np.ndarray, "24 3"],
    joints: Float[np.ndarray, "24 3"],
    visible: Bool[np.ndarray, "24"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]] | None:
    """Turn and move the rest torso onto the visible one (Kabsch, 1976); None from two joints."""
    use = [j for j in _TORSO if visible[j]]
    if len(use) < 3:
        return None
    middle, target = rest[use].mean(0), joints[use].mean(0)
    U, _, Vt = np.linalg.svd((joints[use] - target).T @ (rest[use] - middle))
    R = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
    return R, target + R @ (rest[0] - middle)


def split_windows(count: int, length: int, overlap: int) -> Sequence[slice]:
    """Cut a long motion into windows that overlap; the last one ends with it."""
    if count <= length:
        return [slice(0, count)]
    starts = [*range(0, count - length, length - overlap), count - length]
    return [slice(start, start + length) for start in starts]
