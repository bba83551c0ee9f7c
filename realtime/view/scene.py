"""What there is to see in one frame, as plain arrays: several people and the world they stand in.

    SceneBuilder(body)(view_frame) -> Scene      realtime.view.build

The window, the recorder and the browser draw the same `Scene`. Nothing here imports Open3D or a
GPU library. Points are in the camera frame in metres (x right, y down, z forward) unless they are
said to be in the world (z up, origin on the floor below the camera); `Scene.to_world` converts. The
image is BGR, as OpenCV delivers it; colours of geometry are RGB in [0, 1].

The uncertain distance to the camera is a number of its own and never spread: see
`engines.types.JointMoments`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.camera import Intrinsics
from engines.types import Estimate, PersonMesh


@dataclass(frozen=True)
class ViewConfig:
    """Sizes, scales and thresholds of the view."""

    width: int = 1280
    """Width of the composed image, px."""
    height: int = 720
    """Height of the composed image, px."""
    max_std_cm: float = 15.0
    """Standard deviation at the end of the colour scale, cm. Larger ones get the same colour."""
    hypotheses: int = 5
    """Number of hypotheses that are skinned and drawn for each person."""
    ellipsoid_min_std_cm: float = 6.0
    """A joint gets an ellipsoid when its standard deviation is above this, cm."""
    ellipsoid_joints: tuple[int, ...] = (7, 8, 15, 20, 21)
    """Joints that may get an ellipsoid: ankles, head and wrists, the ends of what can move.

    Those of the joints before them lie around the same limbs and would only hide these.
    """
    trail_s: float = 3.0
    """How far back a person's trail on the floor reaches, seconds."""
    history_s: float = 10.0
    """How far back the standard deviation of a joint is kept for its chart, seconds."""
    visible_rate_s: float = 0.25
    """Time constant with which the opacity of a limb follows its probability, seconds."""
    frustum_m: float = 1.2
    """Largest distance of the live image from the camera in the drawn frustum, metres."""


@dataclass(frozen=True)
class Status:
    """The numbers of the status line."""

    backend: str
    """The device and library that run the networks, for example `openvino (CPU)`."""
    fps: float
    """Results per second."""
    latency_ms: float
    """Time from the middle of the grab until this result was ready."""
    dropped: int
    """Frames of the source that were never processed, since the start."""
    every_frame: bool = False
    """Whether a recording is processed without haste, so that rate and delay say nothing."""


@dataclass(frozen=True)
class ViewFrame:
    """One result as the view gets it.

    It owns its arrays: their maker must not write into them afterwards.
    """

    image: UInt8[np.ndarray, "H W 3"]
    """The camera image, BGR."""
    estimate: Estimate
    surfaces: tuple[PersonMesh, ...]
    """Of each of `estimate.people`; empty when nobody asked for surfaces."""
    status: Status
    intrinsics: Intrinsics
    """The camera that took the image."""


@dataclass(frozen=True)
class Limb:
    """What is said about one part of the body in words."""

    name: str
    """`head`, `left arm`, `right arm`, `left leg` or `right leg`."""
    std: float
    """Standard deviation, root mean square over the limb's joints, metres."""
    visible: float
    """Mean probability that the limb's joints are visible."""

    @property
    def guessed(self) -> bool:
        """Whether the limb is more likely occluded or outside the image than visible."""
        return self.visible < 0.5

    @property
    def words(self) -> str:
        """For example `left arm ± 4 cm`, or `left leg: guessed, ± 21 cm`."""
        joint = ": guessed," if self.guessed else ""
        return f"{self.name}{joint} ± {100 * self.std:.0f} cm"


@dataclass(frozen=True)
class History:
    """The uncertainty of one person's joints over the last seconds, T instants."""

    time_s: Float[np.ndarray, "T"]
    """Position in the recording, seconds, rising."""
    joint_std: Float[np.ndarray, "T 24"]
    """Metres."""


@dataclass(frozen=True)
class PersonScene:
    """Everything that is drawn of one person; camera frame."""

    track_id: int
    followed: bool
    """Whether this is the person that single-person consumers follow."""
    vertices: Float[np.ndarray, "V 3"]
    """Decimated mesh of the best estimate; empty (V = 0) when the frame carries no surface."""
    vertex_std: Float[np.ndarray, "V"]
    """Metres."""
    vertex_colors: Float[np.ndarray, "V 3"]
    """`vertex_std` on the colour scale."""
    vertex_visible: Float[np.ndarray, "V"]
    """Probability that the surface is visible there, from the joints around; smoothed over time."""
    hypotheses: Float[np.ndarray, "S V 3"]
    """A few skinned hypotheses, moved along the viewing ray to the best estimate's distance."""
    joints: Float[np.ndarray, "24 3"]
    """Joints of the best estimate."""
    joint_cov: Float[np.ndarray, "24 3 3"]
    """Square metres."""
    joint_std: Float[np.ndarray, "24"]
    """Metres."""
    joint_colors: Float[np.ndarray, "24 3"]
    joint_visible: Float[np.ndarray, "24"]
    """As the estimate says, not smoothed."""
    ellipsoid_joints: Int[np.ndarray, "E"]
    """Indices of the joints that are uncertain enough for an ellipsoid."""
    landmarks: Float[np.ndarray, "33 3"]
    """BlazePose's landmarks: x px, y px, visibility."""
    limbs: tuple[Limb, ...]
    distance: float
    """Of the pelvis along the viewing ray, metres."""
    distance_std: float
    """Metres."""
    trail: Float[np.ndarray, "T 3"]
    """Where the pelvis was in the last seconds, oldest first, now last."""
    history: History


@dataclass(frozen=True)
class Scene:
    """One frame: its image, everybody in it, and where the camera stands."""

    frame: ViewFrame
    """What the scene was built from: image, lens, status, frame numbers."""
    people: tuple[PersonScene, ...]
    """Everybody who was found, the one who is followed first."""
    T_world_cam: Float[np.ndarray, "4 4"]
    """Camera frame to world frame."""
    upright: Literal["estimated", "given", "assumed"]
    """Where the direction of gravity comes from; `assumed` is a camera held level."""
    floor_known: bool
    """Whether the floor was found; otherwise it is drawn below the lowest foot."""
    frustum: Float[np.ndarray, "5 3"]
    """World frame: the camera, then the corners of its live image: top left, top right, bottom
    right, bottom left."""

    @property
    def followed(self) -> PersonScene | None:
        """The person that single-person consumers follow; None when there is nobody."""
        return self.people[0] if self.people else None

    def to_world(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Convert points from the camera frame to the world frame."""
        return points @ self.T_world_cam[:3, :3].T + self.T_world_cam[:3, 3]
