"""Flat-shaded pictures of a clothed body behind things, painted back to front on the CPU.

A few milliseconds a picture, because it needs no more than what the landmark network reacts to:
outlines, shading, clothes, a face, things in front. Everything random comes from the caller's
generator. Colours are BGR, 0..255.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from engines.rasterizer import fill_triangles, visible_faces
from engines.types import JOINT_NAMES, PARENTS

NOBODY = 255
"""Part id of a pixel that shows no body."""


@dataclass(frozen=True)
class Figure:
    """The mesh that is painted, and what each face belongs to."""

    faces: Int[np.ndarray, "F 3"]
    face_part: Int[np.ndarray, "F"]
    """SMPL joint whose bone moves most of the face."""
    is_hair: Bool[np.ndarray, "F"]
    is_eye: Bool[np.ndarray, "F"]


@dataclass(frozen=True)
class Rendering:
    """One picture with its truth."""

    image: UInt8[np.ndarray, "S S 3"]
    part: UInt8[np.ndarray, "S S"]
    """SMPL joint of the visible body part, `NOBODY` elsewhere, occluders included."""


def figure(
    v_template: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    weights: Float[np.ndarray, "V 24"],
) -> Figure:
    """Sort a T-pose template's faces into parts, hair and eyes."""
    part = weights[faces].sum(1).argmax(1)
    center = v_template[faces].mean(1)
    head = part == JOINT_NAMES.index("head")
    top, bottom = center[head, 1].max(), center[head, 1].min()
    height = (center[:, 1] - bottom) / (top - bottom)
    front = (center[:, 2] - center[head, 2].min()) / np.ptp(center[head, 2])
    is_hair = head & ((height > 0.78) | ((front < 0.52) & (height > 0.25)))
    across = np.abs(center[:, 0]) / np.ptp(center[head, 0])
    is_eye = (
        head & (front > 0.72) & (np.abs(height - 0.52) < 0.07) & (across > 0.12) & (across < 0.32)
    )
    return Figure(faces, part, is_hair, is_eye)


def paint(
    figure: Figure,
    vertices_cam: Float[np.ndarray, "V 3"],
    pixels: Float[np.ndarray, "V 2"],
    size: int,
    background: UInt8[np.ndarray, "S S 3"],
    rng: np.random.Generator,
) -> Rendering:
    """Paint the body over a background.

    Args:
        figure: the mesh.
        vertices_cam: vertices in the camera frame, metres.
        pixels: where the vertices fall in the picture.
        size: side of the picture, px.
        background: what is behind; not changed.
        rng: chooses clothes and light.
    """
    image, part = background.copy(), np.full((size, size), NOBODY, np.uint8)
    visible = visible_faces(pixels, vertices_cam[:, 2], figure.faces, (size, size))
    faces = figure.faces[visible]
    colours = _shade(_normals(vertices_cam, faces), _clothes(figure, rng)[visible], rng)
    fill_triangles(image, pixels[faces], colours)
    fill_triangles(part, pixels[faces], figure.face_part[visible])
    return Rendering(image, part)


def _normals(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "F 3"]:
    p = vertices[faces]
    normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _shade(
    normals: Float[np.ndarray, "F 3"], albedo: Float[np.ndarray, "F 3"], rng: np.random.Generator
) -> Float[np.ndarray, "F 3"]:
    """Ambient light and one lamp on the camera's side."""
    lamp = np.array([rng.normal(0, 0.8), rng.normal(-0.6, 0.6), -1.0])
    lambert = np.clip(normals @ (lamp / np.linalg.norm(lamp)), 0.0, None)
    ambient = rng.uniform(0.35, 0.75)
    light = ambient + (rng.uniform(0.9, 1.2) - ambient) * lambert
    return np.clip(albedo * light[:, None], 0, 255)


_LEGS = {"left_hip", "right_hip", "pelvis"}
_SHINS = {"left_knee", "right_knee"}
_FEET = {"left_ankle", "right_ankle", "left_foot", "right_foot"}
_FOREARMS = {"left_elbow", "right_elbow"}
_SKIN = {"left_wrist", "right_wrist", "left_hand", "right_hand", "head", "neck"}


def _clothes(figure: Figure, rng: np.random.Generator) -> Float[np.ndarray, "F 3"]:
    """One colour a face: skin, hair, shirt, trousers, shoes, with sleeves and legs long or
    short.
    """
    skin = np.array([60, 80, 105]) + rng.uniform(0, 1) * np.array([110, 115, 130])
    shirt, trousers, shoes, hair = (rng.uniform(10, 245, 3) for _ in range(4))
    hair = hair * rng.uniform(0.1, 0.7)
    by_part = np.empty((len(JOINT_NAMES), 3))
    short_sleeves, short_legs, barefoot = rng.random(3) < (0.5, 0.25, 0.15)
    for i, name in enumerate(JOINT_NAMES):
        colour = shirt
        if (
            name in _SKIN
            or (name in _FOREARMS and short_sleeves)
            or (name in _SHINS and short_legs)
        ):
            colour = skin
        elif name in _LEGS | _SHINS:
            colour = trousers
        elif name in _FEET:
            colour = skin if barefoot else shoes
        by_part[i] = colour
    albedo = by_part[figure.face_part] * rng.normal(1.0, 0.03, (len(figure.faces), 1))
    albedo[figure.is_hair] = hair
    albedo[figure.is_eye] = 30.0
    return albedo


def background(size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "S S 3"]:
    """A wall and a floor, soft stains, and some furniture-like clutter; made at half the size,
    nobody looks there.
    """
    full, size = size, size // 2
    low = rng.uniform(20, 235, (rng.integers(2, 9), rng.integers(2, 9), 3))
    strength = rng.uniform(0, 0.6)
    picture = cv2.resize(
        (low * strength + rng.uniform(30, 225, 3) * (1 - strength)).astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )
    if rng.random() < 0.7:
        horizon = int(rng.uniform(0.4, 1.0) * size)
        picture[horizon:] = picture[horizon:] * 0.3 + rng.uniform(20, 220, 3) * 0.7
    picture = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(0, 9)):
        _scribble(picture, rng)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 2.0))
    return cv2.resize(picture, (full, full), interpolation=cv2.INTER_LINEAR)


def _scribble(picture: UInt8[np.ndarray, "S S 3"], rng: np.random.Generator) -> None:
    size = picture.shape[0]
    colour = rng.uniform(10, 245, 3).tolist()
    (x0, y0), (x1, y1) = rng.integers(0, size, (2, 2)).tolist()
    kind = rng.integers(3)
    if kind == 0:
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)
    elif kind == 1:
        cv2.line(picture, (x0, y0), (x1, y1), colour, int(rng.integers(1, max(2, size // 16))))
    else:
        cv2.circle(picture, (x0, y0), int(rng.integers(2, size // 5)), colour, -1)


def occlude(
    painting: Rendering, around: Float[np.ndarray, "N 2"], scale: float, rng: np.random.Generator
) -> None:
    """Paint things in front of the body, in place.

    Args:
        painting: the picture; its `part` map is cleared under the things.
        around: points that are worth hiding (px).
        scale: size of the person, px.
        rng: chooses what, where, how many.
    """
    size = painting.part.shape[0]
    count = rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1])
    for _ in range(count):
        mask = np.zeros((size, size), np.uint8)
        center = around[rng.integers(len(around))] + rng.normal(0, 0.08 * scale, 2)
        kind = rng.choice(["box", "ellipse", "post", "table"], p=[0.35, 0.2, 0.2, 0.25])
        if kind == "ellipse":
            axes = rng.uniform(0.05, 0.25, 2) * scale
            cv2.ellipse(
                mask, (center.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180))), [1], -1
            )
        else:
            extent = {
                "box": rng.uniform(0.08, 0.5, 2),
                "post": (rng.uniform(0.05, 0.25), 4.0),
                "table": (4.0, 1.2),
            }[kind]
            if kind == "table":  # hides everything on one side of an edge: a desk, a wall, a car
                side = rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])
                angle = 90.0 * side + rng.normal(0, 6)
                center = center + 0.6 * scale * np.array(
                    [np.sin(-np.radians(angle)), np.cos(np.radians(angle))]
                )
            else:
                angle = rng.normal(0, 8) if kind == "post" else rng.uniform(0, 180)
            box = cv2.boxPoints(
                (center.tolist(), (np.array(extent) * scale).tolist(), float(angle))
            )
            cv2.fillPoly(mask, [np.round(box).astype(np.int32)], [1])
        hidden = mask.astype(bool)
        texture = (
            background(size, rng)
            if rng.random() < 0.5
            else np.full_like(painting.image, rng.uniform(10, 245, 3))
        )
        painting.image[hidden] = texture[hidden]
        painting.part[hidden] = NOBODY


def degrade(
    image: UInt8[np.ndarray, "S S 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "S S 3"]:
    """What a cheap camera adds: blur, a colour cast, noise."""
    out = image.astype(np.float32)
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.2:  # motion
        length = int(rng.integers(3, 10))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(
            kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), [1.0]
        )
        out = cv2.filter2D(out, -1, kernel / kernel.sum())
    gain = rng.uniform(0.6, 1.25) * rng.uniform(0.9, 1.1, 3)
    out = out * gain.astype(np.float32) + np.float32(rng.uniform(-15, 15))
    out += rng.standard_normal(out.shape, np.float32) * rng.uniform(0, 8)
    return np.clip(out, 0, 255).astype(np.uint8)


def visible_joints(
    part: UInt8[np.ndarray, "S S"], joints_px: Float[np.ndarray, "24 2"], reach: int
) -> Bool[np.ndarray, "24"]:
    """Whether each joint's own part, or a neighbour along the skeleton, shows within `reach` px of
    its projection.
    """
    size = part.shape[0]
    visible = np.zeros(len(joints_px), bool)
    for k, (x, y) in enumerate(np.round(joints_px).astype(int)):
        if not (0 <= x < size and 0 <= y < size):
            continue
        window = part[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        own = [k, PARENTS[k], *(c for c in range(len(PARENTS)) if PARENTS[c] == k)]
        visible[k] = np.isin(window, own).mean() > 0.25
    return visible
