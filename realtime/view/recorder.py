"""Writes what the window would display into a video file, from its own thread, with or without one.

    with Recorder("out.mp4", renderer, fps=30.0, every_frame=False) as recorder:
        recorder.put(frame)

Each image is displayed until the next one's time, for which the newest has to wait. Whatever ends
the process, `kill -9` included, the file stays readable but for the newest image and the last half
second before it (`realtime.view.mp4`). It takes its name with the first images, so a run that fails
before it has any changes nothing on the disk.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError
from engines.outputs import open_output
from realtime.view.encoder import Encoder
from realtime.view.mp4 import FragmentedMp4
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewFrame

log = logging.getLogger(__name__)

_QUEUE_LENGTH = 4  # smooths over a slow write; a longer one would only hold images back
_SHORTEST_S = 0.001  # for which an image is displayed
_LONGEST_S = 2.0  # a longer gap, such as a reconnecting camera, is cut out of the recording


class Recorder:
    """One video file; `put` is called by one thread."""

    def __init__(
        self,
        path: str | Path,
        renderer: Renderer,
        fps: float,
        *,
        every_frame: bool,
        force: bool = False,
    ) -> None:
        """Claim the file and start the recorder's thread.

        Args:
            path: File to write, `.mp4`.
            renderer: Composes the images, in the recorder's thread.
            fps: Nominal frames per second of the source.
            every_frame: True: `put` waits. False: `put` never waits, and frames that come too fast
                are dropped and counted.
            force: Replace an existing file.

        Raises:
            PenumbraError: The file cannot be written; nothing has been changed.
        """
        assert fps > 0, f"fps={fps}"
        self.path = Path(path)
        self.dropped = 0
        """Number of frames that came while the queue was full."""
        self.written = 0
        """Number of images in the recording."""
        self._renderer = renderer
        self._last_s = 1.0 / fps  # for which the last image is displayed
        self._every_frame = every_frame
        size = (renderer.config.width, renderer.config.height)
        self._output = open_output(self.path, "record", ".mp4", force=force)
        self._muxer = FragmentedMp4(self._output.file, size)
        try:
            self._encoder = Encoder(size, fps, self._write_packet)
        except BaseException:
            self._output.discard()
            raise
        self._committed = False
        self._queue: queue.Queue[ViewFrame | None] = queue.Queue(_QUEUE_LENGTH)
        self._error: Exception | None = None
        self._failed = False
        self._previous: tuple[float, UInt8[np.ndarray, "height width 3"]] | None = None
        self._durations: deque[float] = deque()  # s, of the images that are being encoded
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, frame: ViewFrame) -> None:
        """Record a frame.

        Raises:
            PenumbraError: Recording ended early, for example because the disk is full; what was
                written is readable. It is raised once; later frames are ignored.
        """
        self._raise_error()
        if self._every_frame:
            self._queue.put(frame)
            return
        try:
            self._queue.put_nowait(frame)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is waiting and finish the file; calling it again does nothing.

        Raises:
            PenumbraError: As `put`.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._raise_error()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        # The run already ends for a reason that must reach the user; this one is only logged.
        try:
            self.close()
        except PenumbraError as own:
            log.error("%s", own)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while (frame := self._queue.get()) is not None:
            if not self._failed:  # else the queue is only emptied, so that `put` never blocks
                self._attempt(lambda frame=frame: self._record(frame))
        self._attempt(self._finish)
        self._output.discard()  # what is committed stays

    def _attempt(self, step: Callable[[], None]) -> None:
        """Keep the first error for the caller's thread."""
        try:
            step()
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._error = self._explain(error) if isinstance(error, OSError) else error

    def _explain(self, error: OSError) -> PenumbraError:
        return PenumbraError(
            f"record: '{self.path}' cannot be written on ({error.strerror}), so recording stopped "
            f"after {self._muxer.frames} images, which are readable; make room, or record to "
            "another disk."
        )

    def _finish(self) -> None:
        try:
            if self._previous is not None:
                self._write(self._previous[1], self._last_s)
        finally:
            self._encoder.close()
        self._muxer.finish()
        self._commit_once()

    def _record(self, frame: ViewFrame) -> None:
        image = self._renderer.compose(frame)
        time_s = frame.estimate.frame.media_time_s
        if self._previous is not None:
            elapsed_s = max(time_s - self._previous[0], _SHORTEST_S)
            self._write(self._previous[1], min(elapsed_s, max(_LONGEST_S, self._last_s)))
        self._previous = (time_s, image)

    def _write(self, image: UInt8[np.ndarray, "height width 3"], duration_s: float) -> None:
        self._durations.append(duration_s)
        self._encoder.encode(image)
        self.written += 1

    def _write_packet(self, packet: bytes) -> None:
        """Add a packet to the file; called in the encoder's thread."""
        self._muxer.add(packet, self._durations.popleft())
        self._commit_once()

    def _commit_once(self) -> None:
        if self._muxer.frames and not self._committed:
            self._committed = True
            try:
                self._output.commit()
            except PenumbraError:
                self._output.keep()  # the sentence names the scratch file
                raise
