"""What the view displays, as plain arrays: the window and the recorder draw the same `Scene`.

    ViewFrame -> build_scene -> Scene: coloured mesh, hypothesis skeletons, covariance ellipsoids

Everything here is a pure function of its arguments and imports neither Open3D nor a GPU library.
Points are in the camera frame in metres (x right, y down, z forward); the image is BGR, as OpenCV
delivers it; colours of geometry are RGB in [0, 1].
The uncertain distance to the camera is displayed as a number, never as spread: see
`engines.types.JointMoments`.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from engines.camera import Intrinsics
from engines.covariance import ELLIPSOID_90, std_from_cov
from engines.types import LIMB_JOINTS, Estimate, Hypotheses, Person, Surface


@dataclass(frozen=True)
class ViewConfig:
    """Sizes, scales and thresholds of the view."""

    width: int = 1280
    """Width of the composed image, px."""
    height: int = 720
    """Height of the composed image, px."""
    max_std_cm: float = 15.0
    """Standard deviation at the end of the colour scale, cm. Larger ones get the same colour."""
    skeletons: int = 12
    """Number of hypotheses that are drawn."""
    ellipsoid_min_std_cm: float = 5.0
    """A joint gets an ellipsoid when its standard deviation is above this, cm."""
    ellipsoid_joints: tuple[int, ...] = (*LIMB_JOINTS, 15)
    """Joints that may get an ellipsoid: limbs and head.

    Those of hands, feet and spine nearly repeat their neighbours'.
    """
    visible_threshold: float = 0.5
    """Below this probability of being visible, a joint or landmark is drawn hollow or dashed."""
    orbit_deg: float = 32.0
    """Turn of the virtual camera about the person, which makes spread in depth visible."""
    elevation_deg: float = 10.0
    """Angle by which the virtual camera is raised."""
    extent_m: float = 2.5
    """Height of the 3D view at the person, metres."""


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


@dataclass(frozen=True)
class ViewFrame:
    """One result as the view gets it.

    It owns its arrays: their maker must not write into them afterwards.
    """

    image: UInt8[np.ndarray, "H W 3"]
    """The camera image, BGR."""
    estimate: Estimate
    surfaces: tuple[Surface, ...]
    """Of each of `estimate.people`; empty when nobody asked for surfaces."""
    status: Status
    intrinsics: Intrinsics
    """The camera that took the image."""


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn in 3D about one person."""

    vertices: Float[np.ndarray, "V 3"]
    """Empty (V = 0) when the frame carries no mesh."""
    vertex_colors: Float[np.ndarray, "V 3"]
    joints: Float[np.ndarray, "24 3"]
    """Joints of the best estimate."""
    joint_cov: Float[np.ndarray, "24 3 3"]
    """Square metres."""
    joint_colors: Float[np.ndarray, "24 3"]
    joint_occluded: Bool[np.ndarray, "24"]
    """Less likely visible than `ViewConfig.visible_threshold`."""
    skeletons: Float[np.ndarray, "S 24 3"]
    """A sample of the hypotheses, moved along the viewing ray to the best estimate's distance."""
    ellipsoid_joints: Int[np.ndarray, "E"]
    """Indices of the joints that carry an ellipsoid."""
    middle: Float[np.ndarray, "3"]
    """The point that the views are centred on."""
    T_view_cam: Float[np.ndarray, "4 4"]
    """Camera frame to virtual camera, which views the person from the side; the same axes."""


@lru_cache(maxsize=1)
def colormap() -> UInt8[np.ndarray, "256 3"]:
    """Return the colour scale, RGB: OpenCV's inferno without its near-black start.

    Black would vanish on a dark background. Inferno is perceptually uniform and its lightness grows
    from end to end, so any stretch of it is and does too.
    """
    ramp = np.linspace(0.28 * 255, 0.97 * 255, 256)
    levels = np.arange(256, dtype=np.uint8)
    bgr = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_INFERNO)[:, 0].astype(np.float64)
    lut = np.stack([np.interp(ramp, levels, bgr[:, c]) for c in (2, 1, 0)], axis=1)
    return np.rint(lut).astype(np.uint8)


def std_colors(std: Float[np.ndarray, "*n"], config: ViewConfig) -> Float[np.ndarray, "*n 3"]:
    """Return the colours of standard deviations in metres, RGB in [0, 1]."""
    index = np.rint(np.clip(std * 100.0 / config.max_std_cm, 0.0, 1.0) * 255.0).astype(np.intp)
    return colormap()[index] / 255.0


@lru_cache(maxsize=1)
def unit_rings(points: int = 48) -> tuple[Float[np.ndarray, "M 3"], Int[np.ndarray, "L 2"]]:
    """Return the points of three great circles of a unit sphere and the lines between them."""
    angle = 2 * np.pi * np.arange(points) / points
    c, s, o = np.cos(angle), np.sin(angle), np.zeros(points)
    rings = np.concatenate([np.stack(ring, axis=1) for ring in ((o, c, s), (s, o, c), (c, s, o))])
    here = np.arange(points)
    loop = np.stack([here, (here + 1) % points], axis=1)
    return rings, np.concatenate([loop + points * i for i in range(3)])


def ellipsoid_rings(
    center: Float[np.ndarray, "3"], cov: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "M 3"]:
    """Return `unit_rings` on the 90 % ellipsoid, across its own axes.

    Its points p satisfy (p - center)^T cov^-1 (p - center) = chi2_3(0.9).
    """
    variances, axes = np.linalg.eigh(cov)
    half_axes = np.sqrt(ELLIPSOID_90 * np.maximum(variances, 0.0))
    return unit_rings()[0] @ (axes * half_axes).T + center


def ellipsoid_outline(
    center: Float[np.ndarray, "3"],
    cov: Float[np.ndarray, "3 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    points: int = 72,
) -> Float[np.ndarray, "N 2"] | None:
    """Return the ellipse, px, that the 90 % ellipsoid covers in a pinhole image.

    It is None when the ellipsoid reaches behind the camera. A quadric's dual projects to the dual
    of its outline: C* ~ K (c c^T - chi2 cov) K^T, scaled to C*_33 = 1, is
    [[m m^T - S, m], [m^T, 1]] with the ellipse (u - m)^T S^-1 (u - m) = 1.
    """
    dual = intrinsics @ (np.outer(center, center) - ELLIPSOID_90 * cov) @ intrinsics.T
    if center[2] <= 0 or dual[2, 2] <= 0:
        return None
    dual = dual / dual[2, 2]
    middle = dual[:2, 2]
    variances, axes = np.linalg.eigh(np.outer(middle, middle) - dual[:2, :2])
    angle = 2 * np.pi * np.arange(points) / points
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return circle @ (axes * np.sqrt(np.maximum(variances, 0.0))).T + middle


def sample_skeletons(
    hypotheses: Hypotheses, person: Person, count: int
) -> Float[np.ndarray, "S 24 3"]:
    """Return `count` hypotheses in proportion to their weights, at the best estimate's distance.

    Systematic resampling with a fixed offset: equal weights give evenly spaced indices, the same in
    every frame, so that a hypothesis that keeps its z keeps its place in the image too.
    """
    cumulative = np.cumsum(hypotheses.weights)
    picks = np.searchsorted(cumulative, (np.arange(count) + 0.5) / count * cumulative[-1])
    joints = hypotheses.joints[np.minimum(picks, len(cumulative) - 1)]
    behind = (joints[:, 0] - person.best.joints[0]) @ person.ray  # (S,)
    return joints - behind[:, None, None] * person.ray


def orbit_camera(
    target: Float[np.ndarray, "3"], ray: Float[np.ndarray, "3"], config: ViewConfig
) -> Float[np.ndarray, "4 4"]:
    """Return T_view_cam of a virtual camera that orbits `target`; at 0 degrees it faces `ray`."""
    right = np.cross([0.0, 1.0, 0.0], ray)
    right /= np.linalg.norm(right)
    R_front_cam = np.stack([right, np.cross(ray, right), ray])
    yaw, pitch = np.deg2rad(config.orbit_deg), np.deg2rad(config.elevation_deg)
    R_yaw = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    R_pitch = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    T = np.eye(4)
    T[:3, :3] = R_pitch @ R_yaw @ R_front_cam
    T[:3, 3] = np.array([0.0, 0.0, 2.0 * config.extent_m]) - T[:3, :3] @ target
    return T


def project(
    points: Float[np.ndarray, "*n 3"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*n 2"]:
    """Project with a pinhole to px; points behind the camera give nan."""
    depth = np.where(points[..., 2:] > 1e-3, points[..., 2:], np.nan)
    return (points @ intrinsics.T)[..., :2] / depth


def through_lens(
    points: Float[np.ndarray, "*n 3"], intrinsics: Intrinsics
) -> Float[np.ndarray, "*n 2"]:
    """Project as `project` does, with the lens of a real camera."""
    ahead = points[..., 2:] > 1e-3
    uv = intrinsics.project(np.where(ahead, points, 1.0).reshape(-1, 3))
    return np.where(ahead, uv.reshape(*points.shape[:-1], 2), np.nan)


def build_scene(frame: ViewFrame, config: ViewConfig) -> Scene | None:
    """Return everything that is drawn in 3D, or None without a person."""
    person = frame.estimate.person
    if person is None:
        return None
    std = std_from_cov(person.joint_cov)
    candidates = np.array(sorted(config.ellipsoid_joints))
    uncertain = candidates[std[candidates] * 100.0 > config.ellipsoid_min_std_cm]
    surface = frame.surfaces[0] if frame.surfaces else Surface(np.zeros((0, 3)), np.zeros(0))
    # A hand's width above the pelvis is the middle of a person with raised arms.
    middle = person.best.joints[0] + np.array([0.0, -0.1, 0.0])
    return Scene(
        vertices=surface.vertices,
        vertex_colors=std_colors(surface.std, config),
        joints=person.best.joints,
        joint_cov=person.joint_cov,
        joint_colors=std_colors(std, config),
        joint_occluded=person.joint_visible < config.visible_threshold,
        skeletons=sample_skeletons(person.hypotheses, person, config.skeletons),
        ellipsoid_joints=uncertain,
        middle=middle,
        T_view_cam=orbit_camera(middle, person.ray, config),
    )
