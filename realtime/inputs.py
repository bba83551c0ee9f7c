"""What a run reads: its source, which part of it, whether all of it, and the camera behind it."""

from calib.camera import load_intrinsics
from engines import camera
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from realtime import demo
from realtime.capture.excerpt import Excerpt
from realtime.capture.photos import CameraOf, Photos, stated_camera
from realtime.capture.sources import Recording, Source, open_camera, open_video
from realtime.config import RunConfig


def open_source(config: RunConfig) -> Source:
    """Open the source of a run, or the part of it that was asked for.

    Raises:
        PenumbraError: It cannot be opened, or has no such part.
    """
    if config.cam is not None:
        return open_camera(str(config.cam), size=config.size)
    if config.video is None:
        source = demo.open_demo()
    else:
        source = open_video(
            str(config.video),
            folder_fps=config.fps,
            photos=config.photos,
            camera_of=camera_of(config),
        )
    try:
        return _part(source, config.start, config.end)
    except PenumbraError:
        source.close()
        raise


def _part(source: Source, start_s: float | None, end_s: float | None) -> Source:
    if start_s is None and end_s is None:
        return source
    argument = "end" if start_s is None else "start"
    if not isinstance(source, Recording):
        raise PenumbraError(f"{argument}: '{source.name}' is live and has no end; leave it out.")
    if isinstance(source, Photos):
        raise PenumbraError(
            f"{argument}: is for videos, and '{source.name}' is none; leave it out."
        )
    return Excerpt(source, start_s, end_s)


def camera_of(config: RunConfig) -> CameraOf:
    """The rule that says which camera took an image: calibrated, given, stated by the image or
    assumed.
    """

    def choose(size: tuple[int, int], focal_px: float | None) -> Intrinsics:
        if config.calib is not None:
            return load_intrinsics(config.calib, size)
        if config.focal is not None:
            return camera.from_focal(size, config.focal)
        return stated_camera(size, focal_px)

    return choose


def takes_every_frame(config: RunConfig, source: Source) -> bool:
    """Whether a run processes every frame, instead of keeping the pace of its source.

    A recording is processed completely where something is saved; photos also where nobody watches.

    Raises:
        PenumbraError: It is asked for, and the source is live.
    """
    if source.live:
        if config.every_frame:
            raise PenumbraError(
                f"every_frame: {source.name} is live and cannot wait; leave it out."
            )
        return False
    if config.realtime:
        return False
    saves = config.out is not None or config.record is not None
    return config.every_frame or saves or (isinstance(source, Photos) and config.headless)
