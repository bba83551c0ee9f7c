"""What a run refuses before anything is opened."""

import math
from collections.abc import Iterator
from pathlib import Path

from engines.body import DEFAULT_BODY
from engines.distinct import check_distinct
from engines.errors import PenumbraError
from engines.flow.stature import HEIGHT_RANGE_CM
from engines.outputs import check_output
from realtime import demo
from realtime.capture.images import MJPEG_SUFFIXES
from realtime.capture.photo_file import PHOTO_SUFFIXES
from realtime.capture.sources import is_address
from realtime.config import RunConfig
from realtime.following import parse
from realtime.stream.encode import MAX_HYPOTHESES

MAX_PEOPLE = 8
"""More than a processor keeps up with, and than the header of a message holds."""
_FILE_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"),
    *(".3gp", *MJPEG_SUFFIXES, *PHOTO_SUFFIXES),
)


def check(config: RunConfig) -> None:
    """Refuse options that are wrong or do not go together.

    Raises:
        PenumbraError: The first of them.
    """
    for sentence in _contradictions(config):
        raise PenumbraError(sentence)
    parse(config.person)
    check_distinct({"out": config.out, "record": config.record}, _inputs(config))
    for path, argument, suffix in ((config.out, "out", ".npz"), (config.record, "record", ".mp4")):
        if path is not None:
            check_output(path, argument, suffix, force=config.force)


def _contradictions(config: RunConfig) -> Iterator[str]:
    own_source = config.cam is not None or config.video is not None
    if config.cam is not None and config.video is not None:
        yield "video: is given together with `cam`; give one source."
    if config.cam is not None and _is_no_camera(str(config.cam)):
        yield "cam: is for webcams, not for files and addresses; give this one as `video`."
    if config.demo and own_source:
        yield "demo: is given together with another source; give one source."
    if config.hypotheses < 1:
        yield f"hypotheses: must be at least 1, not {config.hypotheses}; ask for more."
    if not 1 <= config.max_people <= MAX_PEOPLE:
        yield f"max_people: must be between 1 and {MAX_PEOPLE}, not {config.max_people}."
    most = MAX_HYPOTHESES // config.max_people
    if config.publish and config.hypotheses > most:
        yield (
            f"hypotheses: at most {most} of each of {config.max_people} people fit into a "
            f"message, not {config.hypotheses}; ask for fewer, or publish nothing."
        )
    if config.max_frames is not None and config.max_frames < 1:
        yield f"max_frames: must be at least 1, not {config.max_frames}; ask for more."
    if config.focal is not None and not 0 < config.focal < float("inf"):
        yield f"focal: must be positive, not {config.focal:g}; give it in pixels."
    if config.calib is not None and config.focal is not None:
        yield "focal: is given together with `calib`, which says the same; give one of them."
    if not own_source and config.calib is not None:
        yield "calib: is for your own images; leave it out, the demo has its own camera."
    if not own_source and config.focal is not None:
        yield "focal: is for your own images; leave it out, the demo has its own camera."
    if config.up is not None and not 0.01 < math.hypot(*config.up) < 100:
        yield "up: is no direction; give three numbers such as 0,-1,0."
    low, high = HEIGHT_RANGE_CM
    if config.height is not None and not low <= config.height <= high:
        yield (
            f"height: must be between {low} and {high} cm, which is as short and as tall as the "
            f"body model can be made, not {config.height:g}."
        )
    if config.size is not None and config.cam is None:
        yield "size: is for a webcam; leave it out."
    if config.prior != "none" and not config.fit:
        yield "prior: takes part in the fit, which is off; leave one of them out."
    if not 0 <= config.web_port <= 65535:
        yield f"web_port: must be from 0 to 65535, not {config.web_port}; choose another one."
    for argument in ("fps", "photos"):
        if getattr(config, argument) and config.video is None:
            yield f"{argument}: is for a folder of images; leave it out."
    yield from _contradictions_in_time(config)


def _contradictions_in_time(config: RunConfig) -> Iterator[str]:
    if config.every_frame and config.realtime:
        yield "realtime: is given together with `every_frame`, its opposite; give one of them."
    for argument in ("start", "end"):
        value = getattr(config, argument)
        if value is not None and config.cam is not None:
            yield f"{argument}: is for recordings, and a camera is live; leave it out."
        if value is not None and not 0 <= value < float("inf"):
            yield f"{argument}: must not be negative, as {value:g} is; give seconds."
    if config.end is not None and config.end <= (config.start or 0.0):
        yield (
            f"end: {config.end:g} s is not behind the start, {config.start or 0.0:g} s; give a "
            "later time."
        )


def _is_no_camera(spec: str) -> bool:
    """Whether what was given as a webcam is an address, a folder or a file with a usual name."""
    if spec.isdecimal() or spec.startswith("/dev/"):
        return False
    path = Path(spec).expanduser()
    return is_address(spec) or path.exists() or path.suffix.lower() in _FILE_SUFFIXES


def _inputs(config: RunConfig) -> dict[str, object]:
    """Every file that the run reads, by what it is."""
    model = config.model or DEFAULT_BODY.with_name("flow.onnx")
    clip = None if config.cam or config.video else demo.clip_path()
    return {
        "the source": config.video or clip,
        "the demo's ground truth": clip and clip.with_suffix(".npz"),
        "the camera calibration": config.calib,
        "the landmark network": config.landmarks_file,
        "the body": config.body or DEFAULT_BODY,
        "the model": model,
        "the model's record": model.with_suffix(".json"),
    }
