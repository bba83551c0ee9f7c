"""One person from the side; it goes when the renderer draws `realtime.view.scene.Scene`.

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

from engines.covariance import std_from_cov
from engines.types import Hypotheses, Person, Surface
from realtime.view.scene import ViewConfig, ViewFrame


@dataclass(frozen=True)
class PersonView:
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


def build_scene(frame: ViewFrame, config: ViewConfig) -> PersonView | None:
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
    return PersonView(
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
