"""A clothed body, flat-shaded over a background, faces from back to front, on the CPU.

It takes a few milliseconds an image, because it needs no more than what the landmark network reacts
to: outlines, shading, clothes, hair and eyes. Colours are BGR, 0..255.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from engines.types import JOINT_NAMES, PARENTS
from trainer.render.rasterizer import fill_triangles, visible_faces

NO_BODY = 255
"""Part of a pixel that shows no body."""
_VISIBLE_SHARE = 0.25
"""The share of the pixels about a joint that must show its part for the joint to be visible."""

_LEGS = {"left_hip", "right_hip", "pelvis"}
_SHINS = {"left_knee", "right_knee"}
_FEET = {"left_ankle", "right_ankle", "left_foot", "right_foot"}
_FOREARMS = {"left_elbow", "right_elbow"}
_SKIN = {"left_wrist", "right_wrist", "left_hand", "right_hand", "head", "neck"}


@dataclass(frozen=True)
class ClothedMesh:
    """The faces of a body's mesh, and what each of them shows."""

    faces: Int[np.ndarray, "F 3"]
    face_part: Int[np.ndarray, "F"]
    """SMPL joint whose bone moves most of the face."""
    is_hair: Bool[np.ndarray, "F"]
    is_eye: Bool[np.ndarray, "F"]

    @staticmethod
    def of(
        v_template: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        weights: Float[np.ndarray, "V 24"],
    ) -> "ClothedMesh":
        """Sort the faces of a T-pose template into parts, hair and eyes.

        Args:
            v_template: vertices in the body frame, metres.
            faces: triangles.
            weights: skinning weights.
        """
        part = weights[faces].sum(1).argmax(1)
        center = v_template[faces].mean(1)
        head = part == JOINT_NAMES.index("head")
        top = center[head, 1].max()
        bottom = center[head, 1].min()
        height = (center[:, 1] - bottom) / (top - bottom)
        front = (center[:, 2] - center[head, 2].min()) / np.ptp(center[head, 2])
        across = np.abs(center[:, 0]) / np.ptp(center[head, 0])
        is_hair = head & ((height > 0.78) | ((front < 0.52) & (height > 0.25)))
        at_eye_level = np.abs(height - 0.52) < 0.07
        is_eye = head & (front > 0.72) & at_eye_level & (across > 0.12) & (across < 0.32)
        return ClothedMesh(faces, part, is_hair, is_eye)


@dataclass(frozen=True)
class Rendering:
    """One image and the body part that each pixel shows."""

    image: UInt8[np.ndarray, "h w 3"]
    part: UInt8[np.ndarray, "H W"]
    """SMPL joint of the visible body part, `NO_BODY` elsewhere, occluders included; at a higher
    resolution than the image.
    """


def render_body(
    mesh: ClothedMesh,
    vertices_cam: Float[np.ndarray, "V 3"],
    pixels: Float[np.ndarray, "V 2"],
    background: UInt8[np.ndarray, "S S 3"],
    rng: np.random.Generator,
) -> Rendering:
    """Render the body over a background.

    Args:
        mesh: faces and what they show.
        vertices_cam: vertices in the camera frame, metres.
        pixels: projections of the vertices, px of the background.
        background: what is behind; it is not changed.
        rng: draws the clothes and the light.
    """
    image = background.copy()
    size = image.shape[0]
    part = np.full((size, size), NO_BODY, np.uint8)
    visible = visible_faces(pixels, vertices_cam[:, 2], mesh.faces, (size, size))
    faces = mesh.faces[visible]
    colours = _shade(_normals(vertices_cam, faces), _clothes(mesh, rng)[visible], rng)
    fill_triangles(image, pixels[faces], colours)
    fill_triangles(part, pixels[faces], mesh.face_part[visible])
    return Rendering(image, part)


def visible_joints(
    part: UInt8[np.ndarray, "h w"], joints_px: Float[np.ndarray, "24 2"], reach: int
) -> Bool[np.ndarray, "24"]:
    """Find the joints of which their own part, or a neighbour's along the skeleton, can be seen.

    Args:
        part: as `Rendering.part`.
        joints_px: projections of the joints, px.
        reach: how far from its projection a joint's part is looked for, px.
    """
    size = part.shape[0]
    visible = np.zeros(len(joints_px), bool)
    for joint, (x, y) in enumerate(np.round(joints_px).astype(int)):
        if not (0 <= x < size and 0 <= y < size):
            continue
        window = part[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        children = [child for child, parent in enumerate(PARENTS) if parent == joint]
        own = [joint, PARENTS[joint], *children]
        visible[joint] = np.isin(window, own).mean() > _VISIBLE_SHARE
    return visible


def _normals(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "F 3"]:
    p = vertices[faces]
    normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _shade(
    normals: Float[np.ndarray, "F 3"], albedo: Float[np.ndarray, "F 3"], rng: np.random.Generator
) -> Float[np.ndarray, "F 3"]:
    """Light faces by ambient light and one lamp on the camera's side."""
    lamp = np.array([rng.normal(0, 0.8), rng.normal(-0.6, 0.6), -1.0])
    lambert = np.clip(normals @ (lamp / np.linalg.norm(lamp)), 0.0, None)
    ambient = rng.uniform(0.35, 0.75)
    light = ambient + (rng.uniform(0.9, 1.2) - ambient) * lambert
    return np.clip(albedo * light[:, None], 0, 255)


def _clothes(mesh: ClothedMesh, rng: np.random.Generator) -> Float[np.ndarray, "F 3"]:
    """Draw a colour for each face: skin, hair, shirt, trousers and shoes, long or short."""
    skin = np.array([60, 80, 105]) + rng.uniform(0, 1) * np.array([110, 115, 130])
    shirt, trousers, shoes, hair = (rng.uniform(10, 245, 3) for _ in range(4))
    hair = hair * rng.uniform(0.1, 0.7)
    short_sleeves, short_legs, barefoot = rng.random(3) < (0.5, 0.25, 0.15)
    bare = _SKIN | (_FOREARMS if short_sleeves else set()) | (_SHINS if short_legs else set())
    by_part = np.empty((len(JOINT_NAMES), 3))
    for joint, name in enumerate(JOINT_NAMES):
        if name in bare:
            by_part[joint] = skin
        elif name in _LEGS | _SHINS:
            by_part[joint] = trousers
        elif name in _FEET:
            by_part[joint] = skin if barefoot else shoes
        else:
            by_part[joint] = shirt
    albedo = by_part[mesh.face_part] * rng.normal(1.0, 0.03, (len(mesh.faces), 1))
    albedo[mesh.is_hair] = hair
    albedo[mesh.is_eye] = 30.0
    return albedo
