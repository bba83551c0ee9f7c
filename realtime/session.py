"""A run from its first frame to its last: open the parts, pass each estimate to everyone who asked
for it.

frames -> Pipeline -> publisher, archive, recorder, window, demo score
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from calib.camera import load_intrinsics
from engines import camera
from engines.blazepose.tracker import open_tracker
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.flow.sampler import open_sampler
from realtime import demo
from realtime.archive import Archive
from realtime.capture.reader import frames
from realtime.capture.frame import Frame
from realtime.capture.sources import Source, open_camera, open_video
from realtime.config import RunConfig
from realtime.pipeline import MIN_SAMPLES, Pipeline, Result
from realtime.smoothing import Smoother, SmoothingConfig
from realtime.stream.encode import MAX_HYPOTHESES, StreamInfo, describe
from realtime.stream.publisher import Publisher
from realtime.timing import NS_PER_MS, FrameRate
from realtime.view.recorder import Recorder
from realtime.view.renderer import Renderer
from realtime.view.scene import Status, ViewFrame

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run can say at its end."""

    frames: int
    fps: float
    timing: str
    dropped: int
    left_out: str | None
    """What a recording or a subscriber did not get, for people to read."""
    demo_table: str | None


class Session:
    """Everything that is opened before the first frame. A context manager: what was written is
    complete at its end.
    """

    def __init__(self, config: RunConfig) -> None:
        """Open all parts, the cheap ones that may refuse first.

        Raises:
            PenumbraError: one sentence about the first part that cannot do what it was asked.
        """
        self.config = config
        _check(config)
        with ExitStack() as stack:  # what is open is closed again where a later part refuses
            self._open(stack)
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack) -> None:
        config, enter = self.config, stack.enter_context
        self.source = enter(_open_source(config))
        self.intrinsics, self.score = _open_camera_model(config, self.source)
        if config.every_frame and self.source.live:
            raise PenumbraError(
                f"--every-frame needs a recording; {self.source.name} is live and cannot wait."
            )
        self.publisher = (
            enter(Publisher(config.endpoint, allow_lan=config.allow_lan))
            if config.endpoint
            else None
        )
        body, model = BodyModel.load(config.body), FlowModel.load(config.model)
        self.body = body
        sampler = open_sampler(body, max(config.hypotheses, MIN_SAMPLES), config.backend, model)
        smoother = Smoother(body, SmoothingConfig(enabled=config.smooth))
        tracker = open_tracker(config.backend)
        self.pipeline = Pipeline(
            tracker,
            sampler,
            body,
            self.intrinsics,
            model.calibration,
            smoother,
            published=config.hypotheses,
        )
        self.renderer = Renderer(body.decimated.faces)
        self.recorder = None
        if config.record:
            fps = self.source.fps or 30.0
            self.recorder = enter(
                Recorder(config.record, self.renderer, fps, every_frame=config.every_frame)
            )
        self._info = _stream_info(self.source, self.intrinsics, self.pipeline, model)
        self.archive = (
            enter(Archive(config.out, config.hypotheses, self._meta(model))) if config.out else None
        )
        self._rate = FrameRate()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask `run` to end after the frame in hand, or while it waits for one; may be called from
        any thread.
        """
        self._stop.set()

    def run(self, show: Callable[[ViewFrame], None] | None = None) -> Outcome:
        """Take frames until the source ends or `stop` is called.

        Args:
            show: gets every result with its mesh; must not wait.
        """
        count, last, start = 0, None, time.perf_counter()
        try:
            with frames(self.source, self.config.every_frame, self._stop) as stream:
                for frame in stream:
                    result = self.pipeline(frame)
                    last = result.estimate
                    self.deliver(frame, result, show)
                    count += 1
                    if self._stop.is_set() or count == self.config.max_frames:
                        break
        finally:  # an archive that is cut short says as much as a whole one
            fps = count / max(time.perf_counter() - start, 1e-9)
            if self.archive is not None:
                stages = self.pipeline.timer.percentiles_ms()
                timing = {
                    "stages_ms": {k: {"p50": a, "p95": b} for k, (a, b) in stages.items()},
                    "fps": fps,
                }
                self.archive.meta |= timing
        table = self.score.table() if self.score else None
        dropped = last.frame.dropped if last else 0
        return Outcome(count, fps, self.pipeline.timer.summary(), dropped, self._left_out(), table)

    def _left_out(self) -> str | None:
        """What somebody did not get, though the pipeline made it."""
        pictures = self.recorder.dropped if self.recorder else 0
        stalls = self.publisher.stalls if self.publisher else 0
        mend = "" if self.source.live else ", which --every-frame would keep"
        parts = [f"the recording lacks {pictures} pictures{mend}"] if pictures else []
        parts += [f"a subscriber's queue was full {stalls} times"] if stalls else []
        return "; ".join(parts) or None

    def deliver(
        self, frame: Frame, result: Result, show: Callable[[ViewFrame], None] | None
    ) -> None:
        """Pass one result to everyone who asked for it."""
        estimate, timer = result.estimate, self.pipeline.timer
        if self.publisher is not None:
            with timer.stage("publish"):
                self.publisher.publish(estimate, self._info)
        if self.archive is not None:
            with timer.stage("archive"):
                self.archive.append(estimate)
        if self.score is not None:
            self.score.add(estimate)
        latency_ns = time.monotonic_ns() - estimate.frame.t_capture_ns
        timer.add("capture to now", latency_ns)
        self._rate.tick()
        if show is None and self.recorder is None:
            return
        status = Status(
            self.pipeline.backend, self._rate.fps, latency_ns / NS_PER_MS, estimate.frame.dropped
        )
        mesh = self.pipeline.mesh(result)
        vertices, std = (mesh.vertices, mesh.std) if mesh else (None, None)
        view = ViewFrame(frame.image, estimate, vertices, std, status, self.intrinsics)
        if self.recorder is not None:
            self.recorder.put(view)
        if show is not None:
            show(view)

    def _meta(self, model: FlowModel) -> dict[str, object]:
        """What the archive says about the run."""
        record = {key: value for key, value in model.record.items() if key != "J_template"}
        return {
            "backend": self.pipeline.backend,
            "model": record,
            "body": self.body.name,
            "source": self.source.name,
            "camera_matrix": self.intrinsics.matrix.tolist(),
            "camera_distortion": list(self.intrinsics.dist),
            "camera": self.intrinsics.source,
            "smoothed": self.config.smooth,
        }

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _check(config: RunConfig) -> None:
    """Refuse what cannot be asked for, before anything is opened."""
    if config.hypotheses < 1:
        raise PenumbraError(f"--hypotheses must be at least 1, not {config.hypotheses}.")
    if config.endpoint is not None and config.hypotheses > MAX_HYPOTHESES:
        raise PenumbraError(
            f"--hypotheses {config.hypotheses}: at most {MAX_HYPOTHESES} fit into a message; draw fewer, or add --no-publish."
        )
    if config.max_frames is not None and config.max_frames < 1:
        raise PenumbraError(f"--max-frames must be at least 1, not {config.max_frames}.")
    if config.calib is not None and config.focal is not None:
        raise PenumbraError("--focal and --calib both say what the camera is; give one of them.")
    if config.source is None and (config.calib is not None or config.focal is not None):
        raise PenumbraError(
            "--focal and --calib are for your own pictures; the demo brings its own camera."
        )
    if config.size is not None and not config.camera:
        raise PenumbraError("--size is for a webcam; leave it out.")
    if config.fps is not None and (config.camera or config.source is None):
        raise PenumbraError("--fps is for a folder of images; leave it out.")
    _refuse_to_overwrite(config)


def _refuse_to_overwrite(config: RunConfig) -> None:
    """An output must not be an input, nor the other output."""
    record = config.model and config.model.with_suffix(".json")
    inputs = {
        "--video": None if config.camera else config.source, "--calib": config.calib, "--body": config.body,
        "--model": config.model, "the record of --model": record,
    }  # fmt: skip
    taken = {Path(value).resolve(): option for option, value in inputs.items() if value is not None}
    for option, value in (("--out", config.out), ("--record", config.record)):
        if value is None:
            continue
        if (path := value.resolve()) in taken:
            raise PenumbraError(
                f"{option} {value} is also what {taken[path]} names; choose another file."
            )
        taken[path] = option


def _open_source(config: RunConfig) -> Source:
    if config.source is None:
        return demo.open_demo()
    if config.camera:
        return open_camera(config.source, size=config.size)
    return open_video(config.source, folder_fps=config.fps)


def _open_camera_model(
    config: RunConfig, source: Source
) -> tuple[Intrinsics, demo.DemoScore | None]:
    if config.source is None:
        truth = demo.Truth.load()
        return truth.intrinsics(source.size), demo.DemoScore(truth)
    if config.calib is not None:
        return load_intrinsics(config.calib, source.size), None
    if config.focal is not None:
        return camera.from_focal(source.size, config.focal), None
    return camera.from_fov(source.size), None


def _stream_info(
    source: Source, intrinsics: Intrinsics, pipeline: Pipeline, model: FlowModel
) -> StreamInfo:
    fitted = model.calibration
    calibration = None if fitted is None else describe(model.onnx.name, fitted)
    K, lens, known = intrinsics.matrix, intrinsics.dist, intrinsics.calibrated
    return StreamInfo(source.name, source.size, K, known, pipeline.backend, calibration, lens)
