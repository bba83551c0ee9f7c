"""What a run is asked to do: one frozen dataclass, made from the command line in `run_demo.py`."""

from dataclasses import dataclass
from pathlib import Path

from realtime.stream.wire import DEFAULT_ENDPOINT


@dataclass(frozen=True)
class RunConfig:
    """One run of the live system."""

    source: str | None = None
    """Camera, file, folder or address (`realtime.capture.sources`); None for the built-in demo."""
    camera: bool = False
    """`source` is a webcam's index or name."""
    size: tuple[int, int] | None = None
    """(width, height) px to ask of a webcam; None for its own choice."""
    fps: float | None = None
    """Of a folder of images."""
    every_frame: bool = False
    """Look at every frame of a recording instead of keeping its pace."""
    hypotheses: int = 100
    backend: str = "auto"
    focal: float | None = None
    """Focal length in px; None together with `calib` for an assumed field of view."""
    calib: Path | None = None
    body: Path | None = None
    """A body made by `engines.convert_smpl`; None for the default body."""
    model: Path | None = None
    """A flow made by `trainer.export_onnx`; None for the shipped one."""
    smooth: bool = True
    headless: bool = False
    record: Path | None = None
    out: Path | None = None
    endpoint: str | None = DEFAULT_ENDPOINT
    """None publishes nothing."""
    allow_lan: bool = False
    max_frames: int | None = None
