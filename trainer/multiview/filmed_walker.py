"""Somebody cut out of a video who walks by in the footage of calibrated cameras.

A billboard: upright in the world, at one place of it in all cameras, and turned to each of them.
The clothes, the light and the noise are real, which a rendering's are not; the view from the side
is the same in each camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.blazepose.roi import apply_affine, for_opencv
from engines.blazepose.tracker import open_tracker
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS, MIRRORED_LANDMARKS
from trainer.data.video_reader import frame_rate, read_frames
from trainer.multiview.rig import RigCamera
from trainer.multiview.second_person import Layer, Silhouettes

_FEET = (27, 28, 29, 30, 31, 32)
_HIPS = (23, 24)
_EYES = tuple(range(1, 7))
_EYE_HEIGHT = 0.936
"""Of a standing adult, in statures (Drillis and Contini, 1966)."""
_NEAREST_M = 0.1
"""Depth below which nothing is seen."""
_SURELY = (0.3, 0.7)
"""Silhouette that is certainly background, and certainly the person."""
_FEWEST = 10


@dataclass(frozen=True)
class CutOut:
    """One image of the video."""

    image: UInt8[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    """How much of each pixel is the person."""
    points: Float[np.ndarray, "33 2"]
    """Landmarks, px."""

    def mirrored(self) -> "CutOut":
        """Return the same with left and right exchanged."""
        points = self.points[list(MIRRORED_LANDMARKS)] * (-1.0, 1.0)
        points[:, 0] += self.image.shape[1]
        return CutOut(
            np.ascontiguousarray(self.image[:, ::-1]),
            np.ascontiguousarray(self.alpha[:, ::-1]),
            points,
        )


def cut_out(video: Path, part_s: tuple[float, float], argument: str) -> list[CutOut]:
    """Cut the person of a video out, by the heavy landmark network; images without are left out.

    Args:
        video: of one person who walks by, from head to feet, a camera that stands still.
        part_s: beginning and end of the part that is wanted, seconds.
        argument: what the user called it, for the error message.

    Raises:
        PenumbraError: the video cannot be read, or hardly shows anybody.
    """
    rate = frame_rate(video, argument)
    tracker, silhouettes = open_tracker(network="heavy"), Silhouettes()
    found = []
    for t, image in enumerate(read_frames(video, argument)):
        if not part_s[0] <= t / rate < part_s[1]:
            continue
        one = tracker(image)
        if one is not None:
            low, high = _SURELY
            alpha = ((silhouettes(image, one.roi) - low) / (high - low)).clip(0, 1)
            found.append(CutOut(image, alpha.astype(np.float32), one.points))
    if len(found) < _FEWEST:
        raise PenumbraError(
            f"{argument}: {video} shows a person in {len(found)} images of that part; give a video"
            " of one person who walks by."
        )
    return found


@dataclass(frozen=True)
class FilmedWalker:
    """Walks from place to place, spreading the images of a video over T frames."""

    images: Sequence[CutOut]
    places: Float[np.ndarray, "T 3"]
    """On the floor, world, metres."""
    height_m: float = 1.7

    def seen_by(self, camera: RigCamera, image: UInt8[np.ndarray, "h w 3"], t: int) -> Layer:
        """Draw frame t of the walk into an image that the camera took."""
        height, width = image.shape[:2]
        ends = camera.to_camera(self.places[t] + np.array([[0, 0, 0], [0, 0, self.height_m]]))
        joints_px = np.full((24, 2), np.nan)
        depth = float(ends[:, 2].mean())
        if ends[:, 2].min() < _NEAREST_M:
            empty = np.zeros((height, width), np.float32)
            return Layer(image, empty, joints_px, np.zeros(24, bool), depth)
        one = self.images[t * (len(self.images) - 1) // max(1, len(self.places) - 1)]
        if self._walks_right(camera) != self._filmed_right:
            one = one.mirrored()
        A = self._placed(one, *camera.intrinsics.project(ends))
        joints_px[list(LIMB_LANDMARKS.values())] = apply_affine(A, one.points[list(LIMB_LANDMARKS)])
        drawn = cv2.warpAffine(one.image, for_opencv(A), (width, height))
        alpha = cv2.warpAffine(one.alpha, for_opencv(A), (width, height))
        visible = ((joints_px >= 0) & (joints_px < (width, height))).all(-1)
        return Layer(drawn.astype(np.uint8), alpha, joints_px, visible, depth)

    def _placed(
        self, one: CutOut, feet_px: Float[np.ndarray, "2"], top_px: Float[np.ndarray, "2"]
    ) -> Float[np.ndarray, "2 3"]:
        """Return the map from an image of the video to that of a camera: feet on feet, upright."""
        down = (feet_px - top_px) / self._stature_px
        right = np.array([down[1], -down[0]])
        A = np.column_stack([right, down])
        feet = np.array([one.points[list(_HIPS), 0].mean(), one.points[list(_FEET), 1].max()])
        return np.column_stack([A, feet_px - A @ feet])

    @cached_property
    def _stature_px(self) -> float:
        """Of the person in the video, which does not change: they walk across."""
        points = np.stack([one.points for one in self.images])
        eyes, feet = points[:, list(_EYES), 1].mean(1), points[:, list(_FEET), 1].max(1)
        return float(np.median(feet - eyes)) / _EYE_HEIGHT

    @cached_property
    def _filmed_right(self) -> bool:
        """Whether they walk to the right in the video."""
        first, last = (
            one.points[list(_HIPS), 0].mean() for one in (self.images[0], self.images[-1])
        )
        return bool(last > first)

    def _walks_right(self, camera: RigCamera) -> bool:
        """Whether they walk to the right in a camera."""
        first, last = camera.to_camera(self.places[[0, -1]])
        return bool(last[0] / last[2] > first[0] / first[2])
