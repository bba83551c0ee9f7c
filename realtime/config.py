"""The options of a run: one frozen dataclass, whose docstrings are the help of `run_demo.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from engines.errors import PenumbraError
from realtime.stream.wire import DEFAULT_ENDPOINT


class Size(NamedTuple):
    """Size of an image, px."""

    width: int
    height: int


class Seconds(float):
    """A time in a recording, s."""


class Up(NamedTuple):
    """A direction against gravity in the camera's axes (x right, y down, z forward)."""

    x: float
    y: float
    z: float


@dataclass(frozen=True)
class RunConfig:
    """One run of the live system. At most one source is given; the default is the demo."""

    cam: str | int | None = None
    """Webcam, by index or device name."""
    video: str | Path | None = None
    """Video file, photo, folder of photos or of a video's frames, or RTSP/HTTP address."""
    demo: bool = False
    """The built-in clip with known ground truth (the default source)."""
    start: Seconds | None = None
    """Begin at this time of a recording: seconds, or minutes:seconds."""
    end: Seconds | None = None
    """End at this time of a recording: seconds, or minutes:seconds."""
    every_frame: bool = False
    """Process every frame of a recording, as is done whenever something is saved."""
    realtime: bool = False
    """Keep the pace of a recording and drop frames, also when something is saved."""
    size: Size | None = None
    """Image size to ask of a webcam, such as 1280x720; by default the webcam chooses."""
    fps: float | None = None
    """Frames per second of a folder of images; 30 by default, photos 0.5."""
    photos: bool = False
    """Take a folder's images for photos that have nothing to do with each other."""
    hypotheses: int = 100
    """Number of bodies sampled per frame."""
    backend: str = "auto"
    """What runs the networks: auto, openvino, onnxruntime, torch, torch-cuda or tensorrt."""
    landmarks: Literal["auto", "full", "heavy"] = "auto"
    """Landmark network: full; heavy, which npm brings once; or auto, see realtime/README.md."""
    landmarks_file: Path | None = None
    """Local copy of pose_landmark_heavy.tflite, instead of npm's."""
    focal: float | None = None
    """Focal length, px; by default a field of view of 63 degrees is assumed."""
    calib: Path | None = None
    """Camera calibration: JSON with matrix, size and dist, and T_world_cam where it is known."""
    up: Up | None = None
    """Direction against gravity in the camera's axes, x right, y down, z forward, as a level meter
    gives it: 0,-1,0 for a level camera, 0,-0.94,-0.34 for one that looks 20 degrees down; by
    default it is estimated from the people."""
    height: float | None = None
    """Height of the people in cm, which makes distances metric; by default it is estimated."""
    body: Path | None = None
    """Body made by `python -m engines.convert_smpl`; by default the built-in one."""
    model: Path | None = None
    """Flow made by `python -m trainer.export_onnx`; by default the built-in one."""
    max_people: int = 4
    """Number of people who are followed at most."""
    person: str = "nearest"
    """Whom single-person consumers follow: nearest, largest, centre, or a person's number."""
    fit: bool = True
    """Fit the hypotheses to the visible landmarks. The built-in calibration is for fitted ones."""
    prior: str = "none"
    """Pose prior that takes part in the fit: none, gmm, vposer, ndf, nrdf, flow, or a file .npz."""
    smoothing: bool = True
    """Smooth the best estimate over time, instead of estimating each frame alone."""
    viewer: Literal["window", "web"] = "window"
    """Where the view is: a window, or web, a page for browsers on this machine (pip's `[web]`)."""
    web_port: int = 8080
    """Port of the page that browsers open; 0 takes a free one."""
    headless: bool = False
    """Open no window."""
    record: Path | None = None
    """MP4 file that gets what the window shows."""
    out: Path | None = None
    """NPZ file that gets every estimate."""
    force: bool = False
    """Replace outputs that exist already."""
    publish: bool = True
    """Publish the pose stream."""
    endpoint: str = DEFAULT_ENDPOINT
    """Where the pose stream is published."""
    allow_lan: bool = False
    """Let the endpoint be reachable from other machines; the stream is not encrypted."""
    max_frames: int | None = None
    """Stop after so many frames."""

    def __post_init__(self) -> None:
        """Take sources and files as Python callers write them: an index, a path, or its text.

        Raises:
            PenumbraError: one of them is something else.
        """
        for name in (*_SOURCES, *_FILES):
            value = getattr(self, name)
            if name == "cam" and isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if not isinstance(value, str | Path | None):
                wanted = "an index or a name" if name == "cam" else "a path or its text"
                raise PenumbraError(f"{name}: is of type {type(value).__name__}; give {wanted}.")
            if value is not None:
                taken = str(value) if name in _SOURCES else Path(value)
                object.__setattr__(self, name, taken)


_SOURCES = ("cam", "video")
_FILES = ("landmarks_file", "calib", "body", "model", "record", "out")
