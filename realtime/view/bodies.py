"""Draws bodies into a panel: lit surface, ghosts of guessed limbs, outlines of other hypotheses.

What is visible is solid and calm. Where a limb is probably occluded, its surface fades and the
share of the hypotheses that cover a pixel becomes the opacity of a soft ghost. The outline of a
hypothesis is drawn only where it leaves the outline of the best estimate.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.kernels.raster import MAX_SILHOUETTES, LitMesh, render_mesh, silhouettes
from realtime.view.colors import OUTLINE, Bgr
from realtime.view.geometry import box_around

_HALVED_PX = 40_000
"""Ghosts and outlines in parts of the panel above this size are made at half the size."""
_SUPERSAMPLED_PX = 60_000
"""Panels' parts up to this size are drawn at twice their size and scaled down; in larger ones only
the edges are softened, which a large body can bear."""
GHOST_OPACITY = 0.5
"""Opacity of a ghost where all hypotheses agree."""
_SOLID = (0.25, 0.6)
"""Between these probabilities of being visible a surface goes from a ghost to solid."""
DIFFERS_M = 0.07
"""Where hypotheses leave the best estimate by less than this they are not drawn, metres."""
_OUTLINES = 3
"""Number of hypotheses that get an outline."""
_SHORTEST_PX = 14
"""Outlines of fewer pixels are left out: specks, not limbs."""
_DETAIL_M = 0.015
"""What is thinner than twice this is left out of outlines, metres."""
_GHOST_BLUR_M = 0.02
_FIXED = 4  # fractional bits of cv2's coordinates


@dataclass(frozen=True)
class BodyInPanel:
    """One person as the camera of a panel sees them."""

    pixels: Float[np.ndarray, "V 2"]
    """In the panel, px, origin at the corner of the top-left pixel."""
    depth: Float[np.ndarray, "V"]
    """Metres."""
    normals: Float[np.ndarray, "V 3"]
    """Camera frame."""
    colors: Float[np.ndarray, "V 3"]
    """RGB in [0, 1]."""
    visible: Float[np.ndarray, "V"]
    hypotheses: Float[np.ndarray, "S V 2"]
    """Pixels of other bodies."""
    opacity: float
    """Of the solid surface."""
    px_per_m: float
    """Size of a metre at the person."""
    ghost_floor: float = 0.0
    """Smallest opacity of the best estimate's own surface where it is guessed."""


def solid_share(visible: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return 1 where a surface is drawn solid, 0 where only as a ghost, smooth between."""
    t = np.clip((visible - _SOLID[0]) / (_SOLID[1] - _SOLID[0]), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def draw_bodies(
    canvas: UInt8[np.ndarray, "H W 3"],
    bodies: list[BodyInPanel],
    faces: Int[np.ndarray, "F 3"],
    *,
    surface: bool = True,
    guesses: bool = True,
) -> None:
    """Draw people in place; a nearer person covers a farther one.

    Args:
        canvas: BGR.
        bodies: Of one topology.
        faces: Their triangles, counter-clockwise as seen from outside.
        surface: Draw the surfaces of the best estimates.
        guesses: Draw ghosts and outlines.
    """
    if surface and bodies:
        _draw_surfaces(canvas, bodies, faces)
    if guesses:
        for body in bodies:
            _draw_guesses(canvas, body, faces)


def _draw_surfaces(
    canvas: UInt8[np.ndarray, "H W 3"], bodies: list[BodyInPanel], faces: Int[np.ndarray, "F 3"]
) -> None:
    pixels = np.concatenate([body.pixels for body in bodies])
    box = box_around(pixels, canvas.shape)
    if box is None:
        return
    x0, y0, x1, y1 = box
    share = np.concatenate([solid_share(body.visible) for body in bodies])
    opacity = np.concatenate(
        [np.maximum(solid_share(b.visible), b.ghost_floor) * b.opacity for b in bodies]
    )
    count = len(bodies[0].pixels)
    every = np.concatenate([faces + i * count for i in range(len(bodies))])
    zoom = 2 if (x1 - x0) * (y1 - y0) <= _SUPERSAMPLED_PX else 1
    mesh = LitMesh(
        pixels=(pixels - (x0, y0)) * zoom,
        depth=np.concatenate([body.depth for body in bodies]),
        normals=np.concatenate([body.normals for body in bodies]),
        rgba=np.column_stack([np.concatenate([body.colors for body in bodies]), opacity]),
        faces=every,
    )
    # Guessed limbs are a layer of their own, or they would cut holes into what is behind them.
    solid = share[every].mean(axis=1) >= 0.5
    faint = ~solid & (opacity[every].max(axis=1) > 0.01)
    size = ((x1 - x0) * zoom, (y1 - y0) * zoom)
    for chosen in (solid, faint):
        if chosen.any():
            part = LitMesh(mesh.pixels, mesh.depth, mesh.normals, mesh.rgba, every[chosen])
            rgba, _ = render_mesh(part, size)
            over(canvas[y0:y1, x0:x1], rgba)


def over(part: UInt8[np.ndarray, "h w 3"], rgba: UInt8[np.ndarray, "H W 4"]) -> None:
    """Scale premultiplied RGBA down to a part of a BGR image and blend it over that, in place."""
    if rgba.shape[:2] == part.shape[:2]:
        small = cv2.GaussianBlur(rgba, (3, 3), 0.6)
    else:
        small = cv2.resize(rgba, part.shape[1::-1], interpolation=cv2.INTER_AREA)
    alpha = cv2.cvtColor(small[..., 3], cv2.COLOR_GRAY2BGR)
    behind = cv2.multiply(part, 255 - alpha, scale=1.0 / 255.0)
    cv2.add(behind, cv2.cvtColor(small, cv2.COLOR_RGBA2BGR), dst=part)


def _draw_guesses(
    canvas: UInt8[np.ndarray, "H W 3"], body: BodyInPanel, faces: Int[np.ndarray, "F 3"]
) -> None:
    points = np.concatenate([body.pixels[None], body.hypotheses[: MAX_SILHOUETTES - 1]])
    box = box_around(points.reshape(-1, 2), canvas.shape)
    if box is None or len(points) == 1:
        return
    x0, y0, x1, y1 = box
    # Ghosts are soft and outlines are smoothed, so half the size is enough for large bodies.
    zoom = 0.5 if (x1 - x0) * (y1 - y0) > _HALVED_PX else 1.0
    size = (max(1, round((x1 - x0) * zoom)), max(1, round((y1 - y0) * zoom)))
    shifted = (points - (x0, y0)) * zoom
    px_per_m = body.px_per_m * zoom
    part = canvas[y0:y1, x0:x1]
    _draw_ghost(part, body, shifted[1:], faces, size, px_per_m)
    away = np.linalg.norm(shifted[1:] - shifted[0], axis=-1)
    others = shifted[1:][np.nanmax(away, axis=1, initial=0.0) > DIFFERS_M * px_per_m]
    lines = _outlines(np.concatenate([shifted[:1], others[:_OUTLINES]]), faces, size, px_per_m)
    draw_lines(part, [line / zoom for line in lines], OUTLINE, 0.55 * body.opacity)


def _outlines(
    bodies: Float[np.ndarray, "S V 2"],
    faces: Int[np.ndarray, "F 3"],
    size: tuple[int, int],
    px_per_m: float,
) -> list[Float[np.ndarray, "_ 2"]]:
    """Return where the outlines of bodies leave the first one's, px."""
    if len(bodies) < 2:
        return []
    bits = silhouettes(bodies, faces, size)
    others = [bits >> s & 1 for s in range(1, len(bodies))]
    # Fingers and toes are details that the uncertainty of a limb is not about.
    span = 1 + 2 * max(1, round(_DETAIL_M * px_per_m))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (span, span))
    others = [cv2.morphologyEx(other, cv2.MORPH_OPEN, disc) for other in others]
    return differing_outlines(bits & 1, others, DIFFERS_M * px_per_m)


def _draw_ghost(
    part: UInt8[np.ndarray, "h w 3"],
    body: BodyInPanel,
    hypotheses: Float[np.ndarray, "S V 2"],
    faces: Int[np.ndarray, "F 3"],
    size: tuple[int, int],
    px_per_m: float,
) -> None:
    """Draw the share of the hypotheses that cover each pixel with a guessed limb."""
    ghostly = 1.0 - solid_share(body.visible)
    of_faces = ghostly[faces].mean(axis=1)
    if not len(hypotheses) or of_faces.max() < 0.05:
        return
    bits = silhouettes(hypotheses, faces[of_faces > 0.5], size)
    x, y, width, height = cv2.boundingRect(bits)
    if not width:
        return
    blur = max(1.0, _GHOST_BLUR_M * px_per_m)
    reach, zoom = math.ceil(3 * blur), round(part.shape[1] / size[0])
    x0, y0 = max(0, x - reach), max(0, y - reach)
    counts = _BIT_COUNTS[bits[y0 : y + height + reach, x0 : x + width + reach]]
    share = cv2.GaussianBlur(counts * np.float32(1.0 / len(hypotheses)), (0, 0), blur)
    part = part[y0 * zoom :, x0 * zoom :][: share.shape[0] * zoom, : share.shape[1] * zoom]
    if share.shape != part.shape[:2]:
        share = cv2.resize(share, part.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    tint = (body.colors * ghostly[:, None]).sum(axis=0) / ghostly.sum()
    weight = (share * np.float32(GHOST_OPACITY * body.opacity))[..., None]
    color = (0.25 + 0.75 * tint[::-1]).astype(np.float32) * 255.0
    part[:] = (part + weight * (color - part) + 0.5).astype(np.uint8)


_BIT_COUNTS = np.array([bin(i).count("1") for i in range(256)], np.float32)


def differing_outlines(
    best: UInt8[np.ndarray, "h w"], others: list[UInt8[np.ndarray, "h w"]], tolerance: float
) -> list[Float[np.ndarray, "_ 2"]]:
    """Return the parts of silhouettes' outlines that leave another silhouette, px.

    Args:
        best: 1 where the best estimate is.
        others: 1 where each hypothesis is.
        tolerance: Distance from `best` up to which an outline is the same, px.
    """
    away = cv2.distanceTransform(1 - best, cv2.DIST_L2, 3)
    lines = []
    inner = np.array(best.shape[::-1]) - 1
    for other in others:
        contours, _ = cv2.findContours(other, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            points = contour[:, 0]
            differs = away[points[:, 1], points[:, 0]] > tolerance
            differs &= (points > 0).all(axis=1) & (points < inner).all(axis=1)
            lines += [
                _smooth(points[run].astype(float))
                for run in runs(differs)
                if len(run) >= _SHORTEST_PX
            ]
    return lines


def runs(flags: np.ndarray) -> list[Int[np.ndarray, "n"]]:
    """Return the indices of each run of true flags of a closed loop, in order."""
    if flags.all():
        return [np.append(np.arange(len(flags)), 0)]
    start = int(np.flatnonzero(~flags)[0])  # a place that is in no run
    turned = np.concatenate([np.roll(flags, -start), [False]]).astype(np.int8)
    steps = np.diff(turned)
    begins, ends = np.flatnonzero(steps > 0) + 1, np.flatnonzero(steps < 0) + 1
    return [(np.arange(b, e) + start) % len(flags) for b, e in zip(begins, ends, strict=True)]


def _smooth(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Return an outline without the stairs of its pixels."""
    kernel = np.ones(7) / 7
    padded = np.pad(points, ((3, 3), (0, 0)), mode="edge")
    columns = [np.convolve(padded[:, i], kernel, mode="valid") for i in range(2)]
    return np.stack(columns, axis=1) + 0.5


def draw_lines(
    part: UInt8[np.ndarray, "h w 3"],
    lines: list[Float[np.ndarray, "_ 2"]],
    color: Bgr,
    opacity: float,
    width: int = 1,
) -> None:
    """Draw open polylines in place, all of them blended at once."""
    if not lines or not part.size:
        return
    layer = part.copy()
    fixed = [np.rint((line - 0.5) * (1 << _FIXED)).astype(np.int32) for line in lines]
    cv2.polylines(layer, fixed, False, color, width, cv2.LINE_AA, _FIXED)
    cv2.addWeighted(layer, opacity, part, 1.0 - opacity, 0.0, dst=part)
