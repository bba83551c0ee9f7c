"""A run from its first frame to its last: open the parts, pass each estimate to all outputs.

frames -> Pipeline -> publisher, archive, recorder, window, demo score
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType

from threadpoolctl import threadpool_limits

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import LandmarkNetwork
from realtime.archive import Archive
from realtime.capture.frame import Frame
from realtime.capture.opencv_io import FALLBACK_FPS
from realtime.capture.photos import Photos
from realtime.capture.playback import Playback, Played
from realtime.capture.reader import frames
from realtime.capture.sources import Recording, Source
from realtime.checks import check
from realtime.config import RunConfig
from realtime.inputs import open_source, takes_every_frame
from realtime.landmark_choice import choose
from realtime.opening import open_camera_model, open_pipeline, stream_info
from realtime.pipeline import Result
from realtime.playing import SessionControls
from realtime.progress import Tell
from realtime.run_record import RunRecord
from realtime.stream.publisher import Publisher
from realtime.timing import NS_PER_MS, FrameRate
from realtime.view.recorder import Recorder
from realtime.view.renderer import Renderer
from realtime.view.scene import Status, ViewFrame

log = logging.getLogger(__name__)

Show = Callable[[ViewFrame], None]


@dataclass(frozen=True)
class Outcome:
    """Summary of a run."""

    frames: int
    fps: float
    timing: str
    dropped: int
    left_out: str | None
    """What the recording or a subscriber did not get, as a sentence."""
    demo_table: str | None


class Session:
    """One run: everything is loaded when it is made, and outputs are written inside `with` only.

        session = Session(config)
        with session:  # opens the outputs, which are complete at the end of the block
            outcome = session.run()

    `stop` ends the run from another thread; an output that fails does so alone (`failed`).
    """

    def __init__(self, config: RunConfig) -> None:
        """Open the source and load the models; what is cheap and may refuse comes first.

        Raises:
            PenumbraError: The first part that cannot do what it was asked.
        """
        check(config)
        self.config = config
        self.failed: set[str] = set()
        """Outputs that did not get everything, by argument name; final after the block."""
        self.archive: Archive | None = None
        self.recorder: Recorder | None = None
        self._rate = FrameRate()
        self._stop = threading.Event()
        self._playback = Playback()
        self._stopped_by: str | None = None
        self._skipped = 0
        with ExitStack() as stack:  # what is open is closed again where a later part refuses
            # Matrices here are small: BLAS with several threads takes their time from the networks.
            stack.enter_context(threadpool_limits(1, "blas"))
            self._load(stack)
            self._stack = stack.pop_all()

    def _load(self, stack: ExitStack) -> None:
        config = self.config
        self.source = stack.enter_context(open_source(config))
        self.intrinsics, self.score = open_camera_model(config, self.source)
        self.every_frame = takes_every_frame(config, self.source)
        self.publisher = None
        if config.publish:
            self.publisher = stack.enter_context(
                Publisher(config.endpoint, allow_lan=config.allow_lan)
            )
        self.landmark_network: LandmarkNetwork = choose(config, self.every_frame)
        self.body = BodyModel.load(config.body)
        self.model = FlowModel.load(config.model)
        self.pipeline = open_pipeline(
            config, self.landmark_network, self.body, self.model, self.intrinsics
        )
        self._info = lru_cache(maxsize=1)(
            partial(stream_info, self.source.name, self.pipeline.backend, self.model)
        )
        self._record = RunRecord(config, self.source, self.intrinsics)

    def __enter__(self) -> "Session":
        """Open the outputs.

        Raises:
            PenumbraError: One of them cannot be written; nothing that existed has been changed.
        """
        with self._stack as stack:
            self.archive = self._open_archive(stack)
            self.recorder = self._open_recorder(stack)
            self._stack = stack.pop_all()
        return self

    def _open_archive(self, stack: ExitStack) -> Archive | None:
        if self.config.out is None:
            return None
        meta = self._record.at_start(
            self.pipeline.backend, self.landmark_network, self.model, self.body
        )
        archive = Archive(self.config.out, self.config.hypotheses, meta, force=self.config.force)
        stack.push(partial(self._close_alone, "out", archive))
        return archive

    def _open_recorder(self, stack: ExitStack) -> Recorder | None:
        if self.config.record is None:
            return None
        recorder = Recorder(
            self.config.record,
            Renderer(self.body),
            self.source.fps or FALLBACK_FPS,
            every_frame=self.every_frame,
            force=self.config.force,
        )
        stack.push(partial(self._close_alone, "record", recorder))
        return recorder

    @property
    def length(self) -> int | None:
        """Number of frames that the run goes over, None if that is not known."""
        length, limit = self.source.length, self.config.max_frames
        return min(length, limit) if length and limit and self.every_frame else length

    def run(self, show: Show | None = None, progress: Tell | None = None) -> Outcome:
        """Process frames until the source ends or `stop` is called.

        Args:
            show: Gets every result with its surfaces; must not wait.
            progress: Is told of every frame that has been processed.

        Raises:
            PenumbraError: The source failed. What was written is complete at the end of the block.
        """
        count, dropped, start = 0, 0, time.perf_counter()
        try:
            with frames(self._played(), self.every_frame, self._stop) as stream:
                for frame in stream:
                    result = self.pipeline(frame)
                    self.deliver(frame, result, show)
                    dropped, self._skipped = frame.info.dropped, frame.info.skipped
                    count += 1
                    if progress is not None:
                        progress(frame.info)
                    if self._stop.is_set() or count == self.config.max_frames:
                        break
                    if self._all_outputs_failed(show):
                        break
        finally:  # the archive of a run that is cut short says as much as that of a whole one
            fps = count / max(time.perf_counter() - start, 1e-9)
            self._describe_run(fps)
        table = self.score.table() if self.score else None
        return Outcome(count, fps, self.pipeline.timer.summary(), dropped, self._left_out(), table)

    def stop(self, reason: str | None = None) -> None:
        """Ask `run` to end after the frame in hand, or while it waits for one, from any thread.

        Args:
            reason: Why it ends before the source does, for the archive: `SIGINT`.
        """
        self._stopped_by = self._stopped_by or reason
        self._stop.set()
        self._playback.end()

    @property
    def controls(self) -> SessionControls:
        """What a window may ask of this run."""
        saved = self.config.out is not None or self.config.record is not None
        start_s = self.config.start or 0.0
        return SessionControls(
            self.source, self._playback, self.follow, saved=saved, start_s=start_s
        )

    def _played(self) -> Source:
        """Return the source, a recording under the control of the window."""
        source = self.source
        return Played(source, self._playback) if isinstance(source, Recording) else source

    def hold_photos(self) -> None:
        """Wait for `stop` if the source is photos: the last one stays in the window until then."""
        if isinstance(self.source, Photos):
            self._stop.wait()

    def follow(self, track_id: int | None) -> None:
        """Choose whom single-person consumers follow from the next frame on, from any thread.

        Args:
            track_id: of the person; None to choose by `person` of the configuration again.
        """
        self.pipeline.follower.follow(track_id)

    def deliver(self, frame: Frame, result: Result, show: Show | None) -> None:
        """Pass one result to every output that still works."""
        estimate, timer = result.estimate, self.pipeline.timer
        intrinsics = frame.intrinsics or self.intrinsics
        if self.publisher is not None:
            with timer.stage("publish"):
                self.publisher.publish(estimate, self._info(intrinsics))
        self._record.add(frame)
        if self.archive is not None and "out" not in self.failed:
            with timer.stage("archive"), self._alone("out"):
                self.archive.append(estimate)
        if self.score is not None:
            self.score.add(estimate)
        latency_ns = time.monotonic_ns() - estimate.frame.t_capture_ns
        timer.add("capture to now", latency_ns)
        self._rate.tick()
        recorder = None if "record" in self.failed else self.recorder
        if show is None and recorder is None:
            return
        view = self._view(frame, result, latency_ns)
        if recorder is not None:
            with self._alone("record"):
                recorder.put(view)
        if show is not None:
            show(view)

    def unfinished(self) -> list[str]:
        """How to get at what was written if the process ended now, one sentence for each output."""
        archive = self.archive
        if archive is None or archive.count == 0 or not archive.partial.exists():
            return []
        return [
            f"out: the {archive.count} frames are in '{archive.partial}'; "
            f"run python -m realtime.archive recover '{archive.partial}'."
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @contextmanager
    def _alone(self, argument: str) -> Iterator[None]:
        """Let an output fail without the others: a full disk does not end the stream."""
        try:
            yield
        except PenumbraError as error:
            log.error("%s", error)
            self.failed.add(argument)

    def _close_alone(
        self,
        argument: str,
        output: AbstractContextManager[object],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._alone(argument):
            output.__exit__(kind, error, trace)

    def _all_outputs_failed(self, show: Show | None) -> bool:
        """Whether nothing is left that a result could go to."""
        asked = {name for name in ("out", "record") if getattr(self.config, name) is not None}
        left = self.publisher is not None or show is not None or self.score is not None
        return bool(self.failed) and self.failed == asked and not left

    def _view(self, frame: Frame, result: Result, latency_ns: int) -> ViewFrame:
        """What recording and window show of one frame."""
        surfaces = self.pipeline.surfaces(result)
        latency_ms, dropped = latency_ns / NS_PER_MS, frame.info.dropped
        status = Status(
            self.pipeline.backend, self._rate.fps, latency_ms, dropped, self.every_frame
        )
        intrinsics = frame.intrinsics or self.intrinsics
        return ViewFrame(frame.image, result.estimate, surfaces, status, intrinsics)

    def _left_out(self) -> str | None:
        """What an output or the pipeline did not get."""
        dropped = self.recorder.dropped if self.recorder else 0
        stalls = self.publisher.stalls if self.publisher else 0
        remedy = "" if self.source.live else ", which every_frame would keep"
        parts = [f"the recording lacks {dropped} frames{remedy}"] if dropped else []
        parts += [f"a subscriber's queue was full {stalls} times"] if stalls else []
        broken = f"{self._skipped} frames of the source were broken and skipped"
        parts += [broken] if self._skipped else []
        return "; ".join(parts) or None

    def _describe_run(self, fps: float) -> None:
        """Add to the archive what is known only at the end."""
        if self.archive is not None:
            stages = self.pipeline.timer.percentiles_ms()
            self.archive.meta |= self._record.at_end(fps, stages, self._stopped_by)
