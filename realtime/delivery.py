"""The outputs of a run: stream, archive, recording, window and demo score; each fails alone.

frame, estimate -> Delivery -> publisher, archive, recorder, window, score
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from realtime.archive import Archive
from realtime.capture.frame import Frame
from realtime.config import RunConfig
from realtime.demo import DemoScore
from realtime.pipeline import Pipeline, Result
from realtime.stream.encode import StreamInfo
from realtime.stream.publisher import Publisher
from realtime.timing import NS_PER_MS, FrameRate
from realtime.view.recorder import Recorder
from realtime.view.renderer import Renderer
from realtime.view.scene import Status, ViewFrame

log = logging.getLogger(__name__)

Show = Callable[[ViewFrame], None]


class Delivery:
    """Passes every result to all outputs that still work."""

    def __init__(
        self,
        config: RunConfig,
        pipeline: Pipeline,
        publisher: Publisher | None,
        info: Callable[[Intrinsics], StreamInfo],
        score: DemoScore | None,
        *,
        every_frame: bool,
    ) -> None:
        """Take what the outputs say beside the estimates.

        Args:
            config: of the run.
            pipeline: whose results are delivered.
            publisher: of the stream, open; None where there is none.
            info: what the stream says of a camera.
            score: of the demo; None for other sources.
            every_frame: whether the run drops no frame.
        """
        self.publisher = publisher
        self.archive: Archive | None = None
        self.recorder: Recorder | None = None
        self.score = score
        self.failed: set[str] = set()
        """Outputs that did not get everything, by argument name; final once they are closed."""
        self._config = config
        self._pipeline = pipeline
        self.stream_info = info
        """What the stream says of a camera."""
        self._every_frame = every_frame
        self._rate = FrameRate()

    def open_files(
        self, stack: ExitStack, body: BodyModel, fps: float, meta: dict[str, Any]
    ) -> None:
        """Open archive and recording, which the stack closes.

        Args:
            stack: closes them.
            body: that the recording shows.
            fps: of the recording.
            meta: what the archive says of its run.

        Raises:
            PenumbraError: One of them cannot be written; nothing that existed has been changed.
        """
        out, record, force = self._config.out, self._config.record, self._config.force
        if out is not None:
            self.archive = Archive(out, self._config.hypotheses, meta, force=force)
            stack.push(partial(self._close, "out", self.archive))
        if record is not None:
            self.recorder = Recorder(
                record, Renderer(body), fps, every_frame=self._every_frame, force=force
            )
            stack.push(partial(self._close, "record", self.recorder))

    def __call__(
        self, frame: Frame, result: Result, intrinsics: Intrinsics, show: Show | None
    ) -> None:
        """Pass one result on.

        Args:
            frame: that the result is of.
            result: of the pipeline.
            intrinsics: of the frame.
            show: the window's; None where there is none.
        """
        estimate, timer = result.estimate, self._pipeline.timer
        if self.publisher is not None:
            with timer.stage("publish"):
                self.publisher.publish(estimate, self.stream_info(intrinsics))
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
        view = self._view(frame, result, intrinsics, latency_ns)
        if recorder is not None:
            with self._alone("record"):
                recorder.put(view)
        if show is not None:
            show(view)

    def nothing_left(self, show: Show | None) -> bool:
        """Whether there is no output that a result could go to, because all have failed."""
        asked = {name for name in ("out", "record") if getattr(self._config, name) is not None}
        left = self.publisher is not None or show is not None or self.score is not None
        return bool(self.failed) and self.failed == asked and not left

    def unfinished(self) -> list[str]:
        """How to get at what was written if the process ended now, one sentence for each output."""
        archive = self.archive
        if archive is None or archive.count == 0 or not archive.partial.exists():
            return []
        return [
            f"out: the {archive.count} frames are in '{archive.partial}'; "
            f"run python -m realtime.archive recover '{archive.partial}'."
        ]

    def left_out(self, *, live: bool) -> list[str]:
        """What an output did not get, a phrase each.

        Args:
            live: whether the source cannot wait.
        """
        dropped = self.recorder.dropped if self.recorder else 0
        stalls = self.publisher.stalls if self.publisher else 0
        remedy = "" if live else ", which every_frame would keep"
        parts = [f"the recording lacks {dropped} frames{remedy}"] if dropped else []
        return parts + ([f"a subscriber's queue was full {stalls} times"] if stalls else [])

    @contextmanager
    def _alone(self, argument: str) -> Iterator[None]:
        """Let an output fail without the others: a full disk does not end the stream."""
        try:
            yield
        except PenumbraError as error:
            log.error("%s", error)
            self.failed.add(argument)

    def _close(
        self,
        argument: str,
        output: AbstractContextManager[object],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._alone(argument):
            output.__exit__(kind, error, trace)

    def _view(
        self, frame: Frame, result: Result, intrinsics: Intrinsics, latency_ns: int
    ) -> ViewFrame:
        """What recording and window show of one frame."""
        pipeline = self._pipeline
        status = Status(
            pipeline.backend,
            self._rate.fps,
            latency_ns / NS_PER_MS,
            frame.info.dropped,
            self._every_frame,
        )
        surfaces = pipeline.surfaces(result)
        return ViewFrame(frame.image, result.estimate, surfaces, status, intrinsics)
