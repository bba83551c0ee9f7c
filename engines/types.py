"""What is passed between the stages, one frozen dataclass each, in the order of the data flow.

Frames and units, used everywhere:
- image: pixels, origin at the top-left corner of the top-left pixel, x right, y down;
- camera: metres, OpenCV convention, x right, y down, z forward;
- body: SMPL's own, metres, y up, x to the body's left, z forward; rotations are axis-angle vectors
  in radians.
The 24 joints are SMPL's, in SMPL's order (`JOINT_NAMES`).
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from engines.covariance import six_from_cov, std_from_cov

# fmt: off
JOINT_NAMES: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand",
)
PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)
"""Parent of each joint in SMPL's tree; -1 for the root."""
LIMB_JOINTS: tuple[int, ...] = (1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21)
"""Hips, knees, ankles, shoulders, elbows, wrists."""
LIMB_LANDMARKS: dict[int, int] = {
    11: 16, 12: 17, 13: 18, 14: 19, 15: 20, 16: 21, 23: 1, 24: 2, 25: 4, 26: 5, 27: 7, 28: 8,
}
"""The joint of each of BlazePose's limb landmarks.

The other 21 landmarks (face, fingers, heels, toes) lie on no joint.
"""
MIRRORED_LANDMARKS: tuple[int, ...] = (
    0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23, 26,
    25, 28, 27, 30, 29, 32, 31,
)
"""Which landmark takes each one's place in a mirror: left and right exchanged."""
LANDMARK_BONES: tuple[tuple[int, int], ...] = (
    (11, 12), (23, 24), (11, 23), (12, 24),
    (11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28),
)
"""Landmarks at both ends of both girdles, both sides of the trunk, upper and lower arms, legs."""
# fmt: on
NUM_JOINTS = len(JOINT_NAMES)
NUM_BETAS = 10
NUM_LANDMARKS = 33
LandmarkNetwork = Literal["full", "heavy"]
"""BlazePose's landmark networks; heavy errs less and takes longer."""


@dataclass(frozen=True)
class FrameInfo:
    """A frame without its image: travels from the source to the last consumer."""

    frame_id: int
    """Counts the frames of the source from 0, dropped and skipped ones included."""
    t_capture_ns: int
    """`time.monotonic_ns()` in the middle of the grab; for a paced recording, when it was due."""
    media_time_s: float
    """Position in a recording, seconds; seconds since the first frame for a live source."""
    dropped: int = 0
    """Frames of the source so far that were overwritten before the pipeline took them."""
    skipped: int = 0
    """Frames of the source so far that were broken and could not be decoded."""
    shot: int = 0
    """Number of the continuous shot that the frame belongs to. Nothing continues from one to the
    next: each photo is one, and so is what follows a seek."""


@dataclass(frozen=True)
class Roi:
    """A rotated square in the image: the region of interest that a network is run on."""

    center: Float[np.ndarray, "2"]
    """Centre, image px."""
    size: float
    """Side length, image px."""
    rotation: float
    """Radians, positive clockwise as seen in the image: 0 for an upright person."""


@dataclass(frozen=True)
class Landmarks:
    """BlazePose's 33 landmarks of one person in one image."""

    points: Float[np.ndarray, "33 2"]
    """Image px; a guess where the landmark is occluded or outside the image."""
    depth: Float[np.ndarray, "33"]
    """Depth relative to the middle of the hips, image px, positive away from the camera."""
    visibility: Float[np.ndarray, "33"]
    """The network's probability that the landmark is in the image, not occluded; uncalibrated."""
    presence: Float[np.ndarray, "33"]
    """The network's probability that the landmark is inside the crop; uncalibrated."""
    world: Float[np.ndarray, "33 3"]
    """A guess in metres, origin between the hips, axes parallel to the camera's."""
    score: float
    """Probability that there is a person in the crop at all."""
    roi: Roi
    """The crop that the landmarks were found in."""
    network: LandmarkNetwork = "full"
    """The network that found them."""
    peak: Float[np.ndarray, "33"] = field(default_factory=lambda: np.full(NUM_LANDMARKS, np.nan))
    """The largest probability in each landmark's heatmap, near it: how precisely the network knows
    its position; 0 outside the crop, NaN where the landmarks come without heatmaps."""

    @property
    def xyv(self) -> Float[np.ndarray, "33 3"]:
        """x px, y px and visibility, the order of COCO's keypoints."""
        return np.column_stack((self.points, self.visibility))


@dataclass(frozen=True)
class Hypotheses:
    """K full bodies sampled from the posterior of one person in one image.

    Index 0 is the flow's centre (z = 0).
    """

    rotvec: Float[np.ndarray, "K 24 3"]
    """Axis-angle: row 0 is SMPL's `global_orient`, camera frame; rows 1..23 are `body_pose`."""
    betas: Float[np.ndarray, "K 10"]
    """SMPL shape coefficients."""
    transl: Float[np.ndarray, "K 3"]
    """SMPL `transl`, camera frame, metres."""
    joints: Float[np.ndarray, "K 24 3"]
    """Camera frame, metres."""
    log_q: Float[np.ndarray, "K"]
    """Log density, under the flow's posterior, of the sample that each body was made from (Haar
    measure for rotations). What moves a body afterwards, a fit or a recalibration, leaves it.
    """
    weights: Float[np.ndarray, "K"]
    """Non-negative, sum to one; equal for plain samples, unequal after reweighting."""

    @property
    def global_orient(self) -> Float[np.ndarray, "K 3"]:
        """SMPL's root rotation, camera frame, axis-angle."""
        return self.rotvec[:, 0]

    @property
    def body_pose(self) -> Float[np.ndarray, "K 69"]:
        """SMPL's 23 joint rotations, each relative to the parent, axis-angle."""
        return self.rotvec[:, 1:].reshape(len(self.rotvec), -1)


@dataclass(frozen=True)
class JointMoments:
    """Mean and covariance of every joint over the hypotheses, the common distance kept apart.

    From one camera the distance of the whole body is far less certain than its pose, and it is one
    number that all joints share. So each hypothesis is first moved along the viewing ray `ray` of
    the best estimate's pelvis until the pelvises are equally far away; `cov` is what remains. The
    covariance in the camera frame with the distance included is

        cov + distance_std**2 * outer(ray, ray)

    for the camera that the hypotheses were drawn for; `Person.common_cov` adds what is not known of
    its focal length.
    """

    mean: Float[np.ndarray, "24 3"]
    """Weighted mean, camera frame, metres."""
    cov: Float[np.ndarray, "24 3 3"]
    """Weighted covariance, camera frame, square metres."""
    distance_std: float
    """Standard deviation of the distance along `ray`, metres."""
    ray: Float[np.ndarray, "3"]
    """Unit vector from the camera to the best estimate's pelvis."""


@dataclass(frozen=True)
class Body:
    """The best estimate: one body, which is all that most consumers read."""

    global_orient: Float[np.ndarray, "3"]
    body_pose: Float[np.ndarray, "69"]
    betas: Float[np.ndarray, "10"]
    transl: Float[np.ndarray, "3"]
    joints: Float[np.ndarray, "24 3"]
    """Camera frame, metres."""


@dataclass(frozen=True)
class Person:
    """Everything that Penumbra says about one person in one frame.

    `realtime.stream.message` declares what of it is published and archived.
    """

    landmarks: Landmarks
    hypotheses: Hypotheses
    best: Body
    """Filtered over time when the pipeline filters."""
    joint_cov: Float[np.ndarray, "24 3 3"]
    """Calibrated covariance about `best.joints` without the common distance (see `JointMoments`).

    Camera frame, square metres. It is that of this frame's hypotheses, and includes by how much a
    filter has moved the best estimate away from them. `common_cov` is the rest.
    """
    ray_std: float
    """Calibrated standard deviation of the person's distance along `ray` if the camera is what it
    is taken for, metres."""
    axis_std: float
    """Standard deviation along the optical axis that an assumed focal length adds, metres; 0 where
    the camera is calibrated (`engines.camera.axis_std_by_focal`)."""
    ray: Float[np.ndarray, "3"]
    """Unit vector from the camera to the pelvis."""
    joint_visible: Float[np.ndarray, "24"]
    """Probability that the joint is inside the image and not occluded by anything."""
    track_id: int
    """Another number is another person, as far as can be told from one frame to the next."""

    @property
    def joint_std(self) -> Float[np.ndarray, "24"]:
        """Standard deviation of each joint per axis, metres."""
        return std_from_cov(self.joint_cov)

    @property
    def joint_cov_six(self) -> Float[np.ndarray, "24 6"]:
        """The upper triangles of `joint_cov`: xx, xy, xz, yy, yz, zz."""
        return six_from_cov(self.joint_cov)

    @property
    def common_cov(self) -> Float[np.ndarray, "3 3"]:
        """Covariance of the displacement that all joints share, camera frame, square metres.

        It is ray_std^2 ray ray^T + axis_std^2 e_z e_z^T. The covariance of joint j with everything
        included is joint_cov[j] + common_cov.
        """
        cov = self.ray_std**2 * np.outer(self.ray, self.ray)
        cov[2, 2] += self.axis_std**2
        return cov

    @property
    def common_cov_six(self) -> Float[np.ndarray, "6"]:
        """The upper triangle of `common_cov`: xx, xy, xz, yy, yz, zz."""
        return six_from_cov(self.common_cov)

    @property
    def distance_std(self) -> float:
        """Standard deviation of the person's distance along `ray`, metres."""
        return float(np.sqrt(self.ray @ self.common_cov @ self.ray))

    @property
    def guessed(self) -> Bool[np.ndarray, "24"]:
        """Whether a joint is more likely occluded or outside the image than visible."""
        return self.joint_visible < 0.5


@dataclass(frozen=True)
class PersonMesh:
    """The decimated mesh of one person's best estimate."""

    vertices: Float[np.ndarray, "V 3"]
    """Camera frame, metres."""
    std: Float[np.ndarray, "V"]
    """Calibrated standard deviation, metres: root mean square over the axes, the distance kept
    apart."""


@dataclass(frozen=True)
class World:
    """Where the camera stands: gravity and the floor.

    The world frame is in metres, z up, the floor at z = 0. Where it is estimated its origin lies
    below the camera, y points where the camera looks, x to the right of it; that of a calibration
    is as the calibration has it.
    """

    T_world_cam: Float[np.ndarray, "4 4"]
    """Camera frame to world frame."""
    up_cov: Float[np.ndarray, "2 2"]
    """Covariance of small rotations of the world frame about its x and y axes, square radians: how
    uncertain the direction of gravity is. Zero where it is known."""
    floor_std: float
    """Standard deviation of the camera's height above the floor, metres; infinite before a floor is
    found, when the height is a guess."""
    source: Literal["estimated", "given"]
    """Whether gravity was estimated from people or comes from a calibration or the user."""

    @property
    def up(self) -> Float[np.ndarray, "3"]:
        """Unit vector against gravity, camera frame."""
        return self.T_world_cam[2, :3]

    @property
    def given(self) -> bool:
        """Whether gravity was given, not estimated."""
        return self.source == "given"


@dataclass(frozen=True)
class Estimate:
    """What the pipeline says about one frame."""

    frame: FrameInfo
    people: tuple[Person, ...] = ()
    """Everybody who was found, the one who is followed first."""
    world: World | None = None
    """None as long as nothing is known about gravity."""

    @property
    def person(self) -> Person | None:
        """The person that single-person consumers follow; None when there is nobody."""
        return self.people[0] if self.people else None

    @property
    def found(self) -> bool:
        """Whether there is a person."""
        return bool(self.people)
