"""Answers of the landmark network to real people before whom something is put.

The heavy network says where the landmarks of the untouched image are. Then a box, a table's edge, a
post or the image's border hides some of them, and the network that is asked answers again, in the
region that its own first answer suggests, as in a tracker.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.blazepose.models import MIN_SCORE
from engines.blazepose.tracker import FindLandmarks, PoseTracker
from engines.types import Landmarks, Roi
from trainer.data.video_reader import read_frames
from trainer.synthetic.landmark_bank import half_sizes, normalised
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

Image = UInt8[np.ndarray, "h w 3"]
_LIMBS = (
    (13, 15, 17, 19, 21), (14, 16, 18, 20, 22), (25, 27, 29, 31), (26, 28, 30, 32),
    (15, 17, 19, 21), (16, 18, 20, 22), (27, 29, 31), (28, 30, 32), (11, 13, 15), (12, 14, 16),
    (23, 25, 27), (24, 26, 28), (23, 24, 25, 26, 27, 28), (13, 14, 15, 16), (0, 7, 8),
)  # fmt: skip
"""Landmarks that one box hides."""
_AT_TABLES = (13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Landmarks at whose height a table's edge may be."""
_CERTAIN = 0.8
"""Score of the person in the untouched image from which on it is used."""
_AGREEMENT = 0.08
"""Largest median distance, in half the person's size, of both networks' visible landmarks."""
_SMALLEST_PX = 15.0
"""Smallest half of the person's size."""


@dataclass(frozen=True)
class Covering:
    """Something that hides a part of an image."""

    mask: Bool[np.ndarray, "h w"]
    """What it hides."""
    border: bool
    """Whether the image ends there, instead of something standing in front."""


def covered_answers(
    video: Path,
    every: int,
    times: int,
    tracker: PoseTracker,
    network: FindLandmarks,
    heavy: FindLandmarks,
    rng: np.random.Generator,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield entries of a bank, `times` for one frame in `every`.

    Args:
        video: file.
        every: frames from one that is used to the next.
        times: coverings that are tried on each.
        tracker: of the network that is asked.
        network: that is asked.
        heavy: says where landmarks are.
        rng: random numbers.

    Raises:
        PenumbraError: if the video cannot be read.
    """
    tracker.reset()
    for number, image in enumerate(read_frames(video, "videos")):
        if number % every:
            continue
        first = tracker(image)
        if first is None or first.score < _CERTAIN:
            continue
        truth, _ = heavy(image, first.roi)
        half_size = float(half_sizes(truth.points))
        if not _agree(first, truth, half_size):
            continue
        for _ in range(times):
            size = (image.shape[0], image.shape[1])
            covering = draw_covering(size, truth.points, half_size, rng)
            answer = _answer(_cover(image, covering, rng), first.roi, network)
            if answer is not None:
                yield _entry(answer, truth, covering)


def _agree(first: Landmarks, truth: Landmarks, half_size: float) -> bool:
    """Tell whether the heavy network's answer can stand for the truth."""
    visible = truth.visibility > 0.5
    if truth.score < _CERTAIN or half_size < _SMALLEST_PX or visible.sum() <= 6:
        return False
    away = np.linalg.norm(first.points - truth.points, axis=1)
    return bool(np.median(away[visible]) < _AGREEMENT * half_size)


def draw_covering(
    shape: tuple[int, int],
    points: Float[np.ndarray, "33 2"],
    half_size: float,
    rng: np.random.Generator,
) -> Covering:
    """Draw what hides a part of a person.

    Args:
        shape: height and width of the image.
        points: of the person, px.
        half_size: of the person, px.
        rng: random numbers.
    """
    mask = np.zeros(shape, np.uint8)
    kind = rng.choice(["limb", "box", "table", "post", "border"], p=[0.4, 0.15, 0.15, 0.15, 0.15])
    draw: dict[str, Callable[..., None]] = {
        "limb": _hide_limb, "box": _hide_by_box, "table": _hide_by_table, "post": _hide_by_post,
        "border": _hide_by_border,
    }  # fmt: skip
    draw[str(kind)](mask, points, half_size, rng)
    return Covering(mask.astype(bool), bool(kind == "border"))


def _hide_limb(
    mask: np.ndarray, points: np.ndarray, half_size: float, rng: np.random.Generator
) -> None:
    limb = points[list(_LIMBS[rng.integers(len(_LIMBS))])]
    margin = half_size * rng.uniform(0.06, 0.16)
    low, high = limb.min(0) - margin, limb.max(0) + margin
    cv2.rectangle(mask, low.astype(int).tolist(), high.astype(int).tolist(), 1, -1)


def _hide_by_box(
    mask: np.ndarray, points: np.ndarray, half_size: float, rng: np.random.Generator
) -> None:
    center, sides = points[rng.integers(len(points))], half_size * rng.uniform(0.15, 0.9, 2)
    corners = cv2.boxPoints((center.tolist(), sides.tolist(), float(rng.uniform(0, 180))))
    cv2.fillPoly(mask, [corners.astype(np.int32)], (1,))


def _hide_by_table(
    mask: np.ndarray, points: np.ndarray, half_size: float, rng: np.random.Generator
) -> None:
    """Hide what is below a nearly horizontal line through an elbow, a wrist, or a leg."""
    height, width = mask.shape
    y, rise = points[rng.choice(_AT_TABLES), 1], width * rng.uniform(-0.05, 0.05)
    corners = np.array([[0, y - rise], [width, y + rise], [width, height], [0, height]])
    cv2.fillPoly(mask, [corners.astype(np.int32)], (1,))


def _hide_by_post(
    mask: np.ndarray, points: np.ndarray, half_size: float, rng: np.random.Generator
) -> None:
    x, half = points[rng.integers(11, 33), 0], half_size * rng.uniform(0.05, 0.2)
    cv2.rectangle(mask, (int(x - half), 0), (int(x + half), len(mask)), 1, -1)


def _hide_by_border(
    mask: np.ndarray, points: np.ndarray, half_size: float, rng: np.random.Generator
) -> None:
    """End the image at the left, at the right or below."""
    x, y = points[rng.integers(11, 33)] + half_size * rng.uniform(-0.1, 0.1)
    side = rng.integers(3)
    if side == 0:
        mask[:, : max(0, int(x))] = 1
    elif side == 1:
        mask[:, max(0, int(x)) :] = 1
    else:
        mask[max(0, int(y)) :] = 1


def _cover(image: Image, covering: Covering, rng: np.random.Generator) -> Image:
    """Paint a covering: black beyond a border, else plain, noisy, or made of the image's parts."""
    covered = image.copy()
    if covering.border:
        covered[covering.mask] = 0
        return covered
    texture = rng.integers(3)
    if texture == 0:
        covered[covering.mask] = rng.integers(0, 255, 3)
    elif texture == 1:
        noise = rng.integers(0, 255, image.shape, dtype=np.uint8)
        noise = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.6, 4)))
        covered[covering.mask] = noise[covering.mask]
    else:
        shift = tuple(rng.integers(size) for size in image.shape[:2])
        elsewhere = cv2.GaussianBlur(np.roll(image[::-1, ::-1], shift, (0, 1)), (0, 0), 2)
        covered[covering.mask] = elsewhere[covering.mask]
    return covered


def _answer(image: Image, roi: Roi, network: FindLandmarks) -> Landmarks | None:
    """Ask twice, as a tracker would: the second time in the region that the first answer names."""
    first, roi = network(image, roi)
    if first.score < MIN_SCORE:
        return None
    second, _ = network(image, roi)
    return None if second.score < MIN_SCORE else second


def _entry(answer: Landmarks, truth: Landmarks, covering: Covering) -> dict[str, np.ndarray]:
    height, width = covering.mask.shape
    x, y = np.floor(truth.points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    hidden = covering.mask[y.clip(0, height - 1), x.clip(0, width - 1)]
    state = np.where((truth.visibility > 0.5) & ~hidden, VISIBLE, OCCLUDED)
    state = np.where(inside & ~(hidden & covering.border), state, OUTSIDE)
    return {
        "true": normalised(truth.points, truth.points),
        "found": normalised(answer.points, truth.points),
        "state": state,
        "visibility": answer.visibility,
        "presence": answer.presence,
        "peak": answer.peak,
    }
