"""A video's landmarks to the motion behind them: HuMoR's fit, the camera standing still.

The unknowns are every frame's body in the world, the body's shape, how the camera is tilted against
the gravity that was assumed, and how high it hangs. They should agree with

    the landmarks            robustly, in units of their sigma
    the bodies started from  as measurements of rotations, as sure as they are said to be
    the motion prior         and its contacts: what stands does not move, and lies on the floor

and begin with bodies of single frames, such as the flow's or fitted ones.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from engines.errors import PenumbraError
from engines.fitting.bodies import Bodies, pose
from engines.fitting.sequences.covariance import SequenceCovariance, sequence_covariance
from engines.fitting.sequences.floor import FEET, FloorContact, FloorContactConfig, MotionModel
from engines.fitting.sequences.landmarks import (
    SHARED,
    CameraJoints,
    SharedNormal,
    VideoLandmarks,
    camera_joints,
    camera_to_world,
)
from engines.fitting.sequences.observations import Rotations, Shape
from engines.fitting.sequences.sequence import FEWEST_FRAMES, BodySequence, SequenceResiduals
from engines.fitting.sequences.solver import solve_sequence
from engines.kernels import Skeleton
from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS, JointMoments

UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Orientation in the world of a camera that looks along y, level: rows are the world's axes."""
_LEG = tuple(JOINT_NAMES.index(f"left_{part}") for part in ("hip", "knee", "ankle"))
_LOWEST_SHARE = 0.2


@dataclass(frozen=True)
class VideoConfig:
    """How a video's motion is fitted."""

    iterations: int = 20
    cauchy: float = 3.0
    """Residual, in sigmas, at which a landmark counts half."""
    betas: float = 0.5
    """Standard deviation of the shape around the mean of the bodies started from."""
    tilt_rad: float = 0.1
    """The same of the camera's tilt about each level axis."""
    height_m: float = 0.3
    """The same of the camera's height."""
    correlation: float = 2.0
    """Factor on how sure the bodies started from are: those of successive frames err alike."""
    pelvis_m: float = 1.0
    """The same of each frame's pelvis around the body started from."""
    floor: FloorContactConfig = field(default_factory=FloorContactConfig)


@dataclass(frozen=True)
class VideoMotion:
    """What was found."""

    sequence: BodySequence
    """In the world, z up, the floor at z = 0."""
    bodies: Bodies
    """The same in the camera's frame."""
    T_world_cam: Float[np.ndarray, "4 4"]
    moments: tuple[JointMoments, ...]
    """Of the joints of each frame, by Laplace's approximation of the whole motion."""
    cost_before: float
    """Nats."""
    cost: float


def fit_video(
    model: MotionModel,
    skeleton: Skeleton,
    start: Bodies,
    rays: Float[np.ndarray, "T 12 2"],
    sigma: Float[np.ndarray, "T 12"],
    turn_sigma: Float[np.ndarray, "T 24"],
    sole_m: Float[np.ndarray, "4"],
    R_world_cam: Float[np.ndarray, "3 3"] = UPRIGHT,
    config: VideoConfig | None = None,
) -> VideoMotion:
    """Fit the motion of one person over at least three frames, 30 a second.

    Args:
        model: the motion prior, of the default body's size.
        skeleton: of the bodies.
        start: a body for each frame, camera frame.
        rays: limb landmarks on the plane z = 1, in the order of `observation.LANDMARKS`.
        sigma: their standard deviation on that plane; infinite where one was not seen.
        turn_sigma: how sure `start` is of the rotations of the joints below the root, radians;
            infinite where it knows nothing.
        sole_m: height of each of `floor.FEET` above the sole of a standing body, metres.
        R_world_cam: the camera's orientation, as far as it is known.
        config: of the fit; the default one when None.

    Raises:
        PenumbraError: there are fewer frames, or an argument has other numbers.
    """
    _check(len(start.R), rays, sigma, turn_sigma)
    config = config or VideoConfig()
    sequence = _in_world(skeleton, start, R_world_cam, sole_m)
    shape = Shape(skeleton, None)
    sized = model.sized(_leg(skeleton, sequence.shared) / _leg(skeleton, np.zeros(SHARED)))
    spread = np.full(SHARED, config.betas)
    spread[NUM_BETAS:] = config.tilt_rad, config.tilt_rad, config.height_m
    held = np.isfinite(turn_sigma)
    held[:, 0] = False  # known in the camera's axes, whose tilt is looked for
    terms: tuple[SequenceResiduals, ...] = (
        VideoLandmarks(skeleton, R_world_cam, rays, sigma, config.cauchy),
        SharedNormal(sequence.shared, spread),
        Rotations(
            sequence.R, config.correlation * turn_sigma, held, sequence.pelvis, config.pelvis_m
        ),
        sized,
        FloorContact(shape, sized, sole_m, config.floor),
    )
    found = solve_sequence(sequence, terms, config.iterations)
    R, position = camera_to_world(R_world_cam, found.sequence.shared)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, position
    bodies = _in_camera(skeleton, found.sequence, T)
    covariance = sequence_covariance(found.sequence, terms)
    seen = camera_joints(skeleton, R_world_cam, found.sequence, np.arange(NUM_JOINTS))
    return VideoMotion(
        *(found.sequence, bodies, T, _moments(seen, covariance)), found.cost_before, found.cost
    )


def _moments(seen: CameraJoints, covariance: SequenceCovariance) -> tuple[JointMoments, ...]:
    """Take the covariances of the joints of each frame, the common distance apart."""
    pelvis = seen.points[:, 0]
    rays = pelvis / np.linalg.norm(pelvis, axis=-1, keepdims=True)

    def split(G: Float[np.ndarray, "T 24 3 n"]) -> tuple[np.ndarray, np.ndarray]:
        """Tell what moves all joints along the ray from the rest."""
        along = (rays[:, None] @ G[:, 0])[:, None]  # (T, 1, 1, n)
        rest = G - rays[:, None, :, None] * along
        return along[:, 0], rest.reshape(len(G), -1, G.shape[-1])

    along, by_frame = split(seen.by_frame)
    along_shared, by_shared = split(seen.by_shared)
    cov = covariance.of(by_frame, by_shared).reshape(-1, NUM_JOINTS, 3, NUM_JOINTS, 3)
    each = np.arange(NUM_JOINTS)
    cov = cov[:, each, :, each].swapaxes(0, 1)  # (T, 24, 3, 3)
    distance_std = np.sqrt(covariance.of(along, along_shared)[:, 0, 0])
    return tuple(
        JointMoments(points, cov[t], float(distance_std[t]), rays[t])
        for t, points in enumerate(seen.points)
    )


def _check(
    frames: int,
    rays: Float[np.ndarray, "T 12 2"],
    sigma: Float[np.ndarray, "T 12"],
    turn_sigma: Float[np.ndarray, "T 24"],
) -> None:
    if frames < FEWEST_FRAMES:
        raise PenumbraError(f"start: {frames} frames are too few; give at least {FEWEST_FRAMES}.")
    for name, values in (("sigma", sigma), ("turn_sigma", turn_sigma)):
        if not (values > 0).all():
            raise PenumbraError(f"{name}: must be above 0; where nothing is known, give infinity.")
    if not np.isfinite(rays[np.isfinite(sigma)]).all():
        raise PenumbraError(
            "rays: are not finite where sigma is; give infinity as sigma of what was not seen."
        )


def _in_world(
    skeleton: Skeleton,
    bodies: Bodies,
    R_world_cam: Float[np.ndarray, "3 3"],
    sole_m: Float[np.ndarray, "4"],
) -> BodySequence:
    """Bodies of the mean shape in the world; the camera is so high that their soles are on it."""
    R = bodies.R.astype(np.float64)
    R[:, 0] = R_world_cam @ R[:, 0]
    pelvis = bodies.pelvis.astype(np.float64) @ R_world_cam.T
    shared = np.zeros(SHARED)
    shared[:NUM_BETAS] = bodies.betas.mean(0)
    sequence = BodySequence(R, pelvis, shared)
    joints = Shape(skeleton, None).joints(sequence)
    soles = (joints[:, list(FEET), 2] - sole_m).min(-1)
    shared[-1] = -np.quantile(soles, _LOWEST_SHARE)
    return replace(sequence, pelvis=pelvis + np.array([0.0, 0.0, shared[-1]]))


def _in_camera(
    skeleton: Skeleton, sequence: BodySequence, T_world_cam: Float[np.ndarray, "4 4"]
) -> Bodies:
    R = sequence.R.copy()
    R[:, 0] = T_world_cam[:3, :3].T @ R[:, 0]
    pelvis = (sequence.pelvis - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
    betas = np.broadcast_to(sequence.shared[:NUM_BETAS], (sequence.count, NUM_BETAS))
    return pose(skeleton, R, betas, pelvis)


def _leg(skeleton: Skeleton, shared: Float[np.ndarray, "G"]) -> float:
    """Length of a leg, metres."""
    rest = skeleton.J_template + skeleton.J_shapedirs @ shared[:NUM_BETAS]
    bones = np.diff(rest[list(_LEG)], axis=0)
    return float(np.linalg.norm(bones, axis=-1).sum())
