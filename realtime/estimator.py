"""Estimates of one's own images, in one's own loop: no source, no thread, no outputs.

estimate = PoseEstimator()
for person in estimate(image, t_s).people: ...
"""

import math
import time
from dataclasses import replace
from functools import lru_cache
from numbers import Real

import numpy as np
from jaxtyping import UInt8

from engines.body import BodyModel
from engines.camera import Intrinsics, from_fov
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import Estimate, FrameInfo
from realtime.capture.frame import Frame
from realtime.checks import check
from realtime.config import RunConfig
from realtime.inputs import camera_of
from realtime.landmark_choice import choose
from realtime.opening import open_pipeline

_OF_A_RUN = (
    *("cam", "video", "demo", "start", "end", "every_frame", "realtime", "size", "fps", "photos"),
    *("record", "out", "max_frames"),
)
"""Options of a source or an output."""


class PoseEstimator:
    """Estimates the people in images that the caller has; belongs to one thread.

    The same stages as a run's (`realtime.pipeline`), 14 ms an image with one person on two cores of
    an Intel Xeon (100 hypotheses, the full landmark network).
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        """Load body, flow and networks.

        Args:
            config: options of the estimates, such as `hypotheses`, `calib` or `max_people`. Nothing
                is published, shown or written.

        Raises:
            PenumbraError: An option is wrong or asks for a source or an output.
        """
        config = config or RunConfig()
        plain = RunConfig()
        for name in _OF_A_RUN:
            if getattr(config, name) != getattr(plain, name):
                raise PenumbraError(
                    f"{name}: is for a run with a source and outputs; leave it out, or use"
                    " realtime.session.Session."
                )
        own = replace(config, video="your images", headless=True, publish=False)
        check(own)
        network = choose(own, every_frame=False)
        assumed = from_fov((1280, 720))  # every frame brings its own
        self.pipeline = open_pipeline(
            own, network, BodyModel.load(own.body), FlowModel.load(own.model), assumed
        )
        self._camera = lru_cache(lambda size: camera_of(own)(size, None))
        self._frames = 0
        self._shot = 0
        self._last: tuple[tuple[int, int], float] | None = None

    def __call__(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        t_s: float | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> Estimate:
        """Estimate the people in an image.

        Args:
            image: BGR, as OpenCV reads it.
            t_s: When it was taken, seconds, if it follows upon the image before: people keep their
                numbers, the best estimates are smoothed, and gravity and floor become better known.
                None: a photo that has nothing to do with others. An image of another size than the
                one before begins anew.
            intrinsics: The camera that took it; by default that of the config, else assumed.

        Raises:
            PenumbraError: The image is none, time goes backwards, or the camera of the config is of
                another size.
        """
        _check_image(image)
        _check_time(t_s)
        size = (image.shape[1], image.shape[0])
        camera = intrinsics or self._camera(size)
        if camera.size != size:
            raise PenumbraError(
                f"intrinsics: are for images of {camera.size}, and this one has {size} pixels; "
                "scale one of them."
            )
        self._begin(size, t_s)
        info = FrameInfo(
            self._frames, time.monotonic_ns(), 0.0 if t_s is None else t_s, shot=self._shot
        )
        self._frames += 1
        return self.pipeline(Frame(image, info, camera)).estimate

    def _begin(self, size: tuple[int, int], t_s: float | None) -> None:
        """Begin a new shot unless the image follows upon the one before."""
        last = self._last
        if t_s is None or last is None or last[0] != size:
            self._shot += 1
        elif t_s <= last[1]:
            raise PenumbraError(
                f"t_s: {t_s:g} s is not later than the image before, {last[1]:g} s; images must "
                "come in the order in which they were taken."
            )
        self._last = None if t_s is None else (size, t_s)


def _check_time(t_s: object) -> None:
    if t_s is not None and not (isinstance(t_s, Real) and math.isfinite(t_s)):
        raise PenumbraError(f"t_s: must be a time in seconds, not {t_s!r}.")


def _check_image(image: object) -> None:
    if image is None:
        raise PenumbraError(
            "image: is None, which OpenCV returns at a video's end and for what it cannot read; "
            "leave it out."
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise PenumbraError(f"image: must be an array of uint8, not {kind}; convert it.")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise PenumbraError(
            f"image: must have height, width and 3 channels (BGR), not the shape {image.shape}; "
            "cv2.cvtColor makes one."
        )
