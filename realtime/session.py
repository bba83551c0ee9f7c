"""A run from its first frame to its last: open the parts, pass each estimate to all outputs.

frames -> Pipeline -> Delivery (publisher, archive, recorder, window, demo score)
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType

from threadpoolctl import threadpool_limits

from engines.body import BodyModel
from engines.flow.model import FlowModel
from engines.types import LandmarkNetwork
from realtime.capture.frame import Frame
from realtime.capture.opencv_io import FALLBACK_FPS
from realtime.capture.photos import Photos
from realtime.capture.playback import Playback, Played
from realtime.capture.reader import frames
from realtime.capture.sources import Recording, Source
from realtime.checks import check
from realtime.config import RunConfig
from realtime.delivery import Delivery, Show
from realtime.inputs import open_source, takes_every_frame
from realtime.landmark_choice import choose
from realtime.opening import open_camera_model, open_pipeline, stream_info
from realtime.playing import SessionControls
from realtime.progress import Tell
from realtime.run_record import RunRecord
from realtime.stream.publisher import Publisher


@dataclass(frozen=True)
class Outcome:
    """Summary of a run."""

    frames: int
    with_people: int
    """Frames in which somebody was found."""
    seconds: float
    fps: float
    landmark_network: LandmarkNetwork
    timing: str
    dropped: int
    left_out: str | None
    """What the recording or a subscriber did not get, as a sentence."""
    demo_table: str | None


AtEnd = Callable[[Outcome], None]


@dataclass
class _Count:
    """Of the frames so far."""

    frames: int = 0
    with_people: int = 0
    dropped: int = 0
    skipped: int = 0
    seconds: float = 0.0
    """From the first frame asked for to the last one delivered, without waits at the end."""

    @property
    def fps(self) -> float:
        return self.frames / max(self.seconds, 1e-9)


class Session:
    """One run: everything is loaded when it is made, frames are processed inside `with`, once.

        session = Session(config)
        with session:  # opens the outputs, which are complete at the end of the block
            outcome = session.run()

    Source and port are held from the beginning; without a block, `close` frees them. `stop` ends
    the run from another thread; an output that fails does so alone (`outputs.failed`). Inside the
    block BLAS has one thread, in all of the process, because it cannot be told for one thread
    alone; afterwards it has as many as before.
    """

    def __init__(self, config: RunConfig) -> None:
        """Open the source and load the models; what is cheap and may refuse comes first.

        Raises:
            PenumbraError: The first part that cannot do what it was asked.
        """
        check(config)
        self.config = config
        self._stop = threading.Event()
        self._playback = Playback()
        self._stopped_by: str | None = None
        self._count = _Count()
        self._lost_before = 0, 0
        self._entered = self._ran = self._left = False
        with ExitStack() as stack:  # what is open is closed again where a later part refuses
            self._load(stack)
            self._stack = stack.pop_all()

    def _load(self, stack: ExitStack) -> None:
        config = self.config
        self.source = stack.enter_context(open_source(config))
        self.intrinsics, score = open_camera_model(config, self.source)
        self.every_frame = takes_every_frame(config, self.source)
        self.publisher: Publisher | None = None
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
        info = partial(stream_info, self.source.name, self.pipeline.backend, self.model)
        self.outputs = Delivery(
            config,
            self.pipeline,
            self.publisher,
            lru_cache(maxsize=1)(info),
            score,
            every_frame=self.every_frame,
        )
        self._record = RunRecord(config, self.source, self.intrinsics)

    def __enter__(self) -> "Session":
        """Open the outputs.

        Raises:
            PenumbraError: One of them cannot be written; nothing that existed has been changed.
        """
        if self._entered or self._left:
            raise RuntimeError("a session is one run: a second would replace its outputs")
        self._entered = True
        meta = self._record.at_start(
            self.pipeline.backend, self.landmark_network, self.model, self.body
        )
        with self._stack as stack:
            self._files = stack.enter_context(ExitStack())
            fps = self.source.fps or FALLBACK_FPS
            self.outputs.open_files(self._files, self.body, fps, meta)
            # Matrices here are small: BLAS with several threads takes their time from the networks.
            stack.enter_context(threadpool_limits(1, "blas"))
            self._stack = stack.pop_all()
        return self

    @property
    def length(self) -> int | None:
        """Number of frames that the run goes over, None if that is not known."""
        length, limit = self.source.length, self.config.max_frames
        return min(length, limit) if length and limit and self.every_frame else length

    def run(
        self,
        show: Show | None = None,
        progress: Tell | None = None,
        at_end: AtEnd | None = None,
    ) -> Outcome:
        """Process frames until the source ends or `stop` is called.

        Args:
            show: Gets every result with its surfaces; must not wait.
            progress: Is told of every frame that has been processed.
            at_end: Is told when a recording that can be searched, or the last photo, is through.
                What was asked for is complete then. The run goes on where the user seeks to, until
                `stop`. When None it is over.

        Raises:
            PenumbraError: The source failed. What was written is complete at the end of the block.
        """
        self._check_open()
        if self._ran:
            raise RuntimeError("a session is one run: its source has been read")
        self._ran = True
        try:
            self._go_over(self.source, show, progress)
            if at_end is not None and self._can_stay_open():
                self._describe_run()
                self._files.close()  # if there are any there is no going back
                at_end(self._outcome())
                while self._playback.wait_for_jump():
                    self._go_over(open_source(self.config), show, progress)
        finally:  # the archive of a run that is cut short says as much as that of a whole one
            self._describe_run()
        return self._outcome()

    def _go_over(self, source: Source, show: Show | None, progress: Tell | None) -> None:
        """Process frames to the end of the source, which is closed then."""
        self._lost_before = self._count.dropped, self._count.skipped
        start = time.perf_counter() - self._count.seconds
        if isinstance(source, Recording):  # under the control of the window
            source = Played(source, self._playback)
        with frames(source, self.every_frame, self._stop) as stream:
            for frame in stream:
                self.process(frame, show)
                self._count.seconds = time.perf_counter() - start
                if progress is not None:
                    progress(frame.info)
                if self._stop.is_set() or self._count.frames == self.config.max_frames:
                    break
                if self.outputs.nothing_left(show):
                    break

    def process(self, frame: Frame, show: Show | None = None) -> None:
        """Estimate the people in one frame and deliver the result.

        Args:
            frame: of the source.
            show: see `run`.
        """
        self._check_open()
        result = self.pipeline(frame)
        self.outputs(frame, result, frame.intrinsics or self.intrinsics, show)
        self._count.frames += 1
        self._count.with_people += result.estimate.found
        dropped, skipped = self._lost_before
        self._count.dropped = dropped + frame.info.dropped
        self._count.skipped = skipped + frame.info.skipped

    def _check_open(self) -> None:
        if not self._entered or self._left:
            raise RuntimeError("outside of `with session`: nothing is written")

    def _can_stay_open(self) -> bool:
        """Whether there is something to look at after the end, and nothing was cut short."""
        stays = self.controls.seekable or isinstance(self.source, Photos)
        return stays and not self._stop.is_set() and self._count.frames != self.config.max_frames

    def stop(self, reason: str | None = None) -> None:
        """Ask `run` to end after the frame in hand, or while it waits for one, from any thread.

        Args:
            reason: Why it ends before the source does, for the archive: `SIGINT`; None if that is
                how such a source ends.
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

    def follow(self, track_id: int | None) -> None:
        """Choose whom single-person consumers follow from the next frame on, from any thread.

        Args:
            track_id: of the person; None to choose by `person` of the configuration again.
        """
        self.pipeline.follower.follow(track_id)

    def close(self) -> None:
        """Free everything, as the end of the block does; it may be called again."""
        self._left = True
        self._stack.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        self._stack.__exit__(kind, error, trace)

    def _outcome(self) -> Outcome:
        count, score = self._count, self.outputs.score
        left_out = self.outputs.left_out(live=self.source.live)
        if count.skipped:
            left_out.append(f"{count.skipped} frames of the source were broken and skipped")
        return Outcome(
            frames=count.frames,
            with_people=count.with_people,
            seconds=count.seconds,
            fps=count.fps,
            landmark_network=self.landmark_network,
            timing=self.pipeline.timer.summary(),
            dropped=count.dropped,
            left_out="; ".join(left_out) or None,
            demo_table=score.table() if score else None,
        )

    def _describe_run(self) -> None:
        """Add to the archive what is known only at the end."""
        if self.outputs.archive is not None:
            stages = self.pipeline.timer.percentiles_ms()
            end = self._record.at_end(self._count.fps, stages, self._stopped_by)
            self.outputs.archive.meta |= end
