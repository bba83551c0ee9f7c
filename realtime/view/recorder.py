"""Writes what the window would display into a video file, from its own thread, with or without one.


    with Recorder("out.mp4", renderer, fps=30.0, every_frame=False) as recorder:
        recorder.put(frame)

The file is a fragmented MP4: whatever ends the process, `kill -9` included, it stays readable but
for the last 256 kB, which FFmpeg still holds (a second or two). An ordinary MP4 has its index at
the end and is lost without it. OpenCV passes no options to its muxer, but it chooses the muxer by
the file's extension, and FFmpeg's `ismv` muxer writes the same container in fragments. So the file
is opened under that extension and gets its own name at once.
"""

import logging
import os
import queue
import shutil
import threading
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewFrame

log = logging.getLogger(__name__)

_QUEUE_LENGTH = 4  # smooths over a slow write; a longer one would only hold images back
# Recording stops in good order before the disk is full: FFmpeg's writes fail silently.
_MIN_FREE_BYTES = 64 << 20
_MAX_REPEAT_S = 2.0  # a longer gap, such as a reconnecting camera, is cut out of the recording


class Recorder:
    """One video file. `put` is called by one thread."""

    def __init__(self, path: str | Path, renderer: Renderer, fps: float, *, every_frame: bool):
        """
        Args:
            path: File to write, `.mp4`. An existing file is replaced.
            renderer: Composes the images, in the recorder's thread.
            fps: Frames per second of the recording.
            every_frame: True: `put` waits and each frame is written once. False: `put` never waits,
                frames that come too fast are dropped and counted, and an image is repeated until
                the next one's time, so that the recording keeps the pace of the source.

        Raises:
            PenumbraError: the file cannot be written.
        """
        assert fps > 0, f"fps={fps}"
        self.path = Path(path)
        self.dropped = 0
        """Frames that came while the queue was full."""
        self.written = 0
        """Images in the file, repeated ones included."""
        self._renderer = renderer
        self._fps = fps
        self._every_frame = every_frame
        self._writer = _open_writer(self.path, fps, (renderer.config.width, renderer.config.height))
        self._queue: queue.Queue[ViewFrame | None] = queue.Queue(_QUEUE_LENGTH)
        self._error: Exception | None = None
        self._failed = False
        self._previous: tuple[float, UInt8[np.ndarray, "h w 3"]] | None = None
        self._debt = 0.0  # fraction of an image that rounding has left over
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, frame: ViewFrame) -> None:
        """Hand a frame over.

        Raises:
            PenumbraError: recording ended early, for example because the disk is full; what was
                written is readable.
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
        """Write what is waiting and finish the file. Calling it again does nothing."""
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
        try:
            while (frame := self._queue.get()) is not None:
                if not self._failed:
                    self._record_or_fail(frame)
        finally:
            self._writer.release()

    def _record_or_fail(self, frame: ViewFrame) -> None:
        """Keep an error for the caller's thread.

        The loop goes on emptying the queue, so that `put` never blocks for good.
        """
        try:
            self._record(frame)
        except Exception as error:
            self._failed, self._error = True, error
            self._writer.release()

    def _record(self, frame: ViewFrame) -> None:
        image = self._renderer.compose(frame)
        time_s = frame.estimate.frame.media_time_s
        if self._previous is not None and not self._every_frame:
            for _ in range(self._repeats(time_s - self._previous[0])):
                self._write(self._previous[1])
        self._write(image)
        self._previous = (time_s, image)

    def _repeats(self, elapsed_s: float) -> int:
        """Return how often the previous image is repeated before the next one is due."""
        due = min(max(elapsed_s, 0.0), _MAX_REPEAT_S) * self._fps + self._debt
        count = max(1, round(due))
        self._debt = due - count if elapsed_s < _MAX_REPEAT_S else 0.0
        return count - 1

    def _write(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        if self.written % 30 == 0 and shutil.disk_usage(self.path.parent).free < _MIN_FREE_BYTES:
            raise PenumbraError(
                f"record: the disk of {self.path} is nearly full, so recording stopped after "
                f"{self.written} images; make room or record to another disk."
            )
        self._writer.write(image)
        self.written += 1


def _open_writer(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Open a writer whose file is already called `path`."""
    if path.suffix.lower() != ".mp4":
        raise PenumbraError(
            f"record: {path} does not end in .mp4, the only format that is written; rename it."
        )
    if path.is_dir():
        raise PenumbraError(f"record: {path} is a folder; give the name of a file.")
    scratch = path.with_name(f".{path.stem}.{os.getpid()}.ismv")
    try:
        scratch.touch()
    except OSError as error:
        raise PenumbraError(
            f"record: {path} cannot be written ({error.strerror}); choose a folder that exists and "
            "allows it."
        ) from error
    writer = cv2.VideoWriter(
        str(scratch), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, size
    )
    if not writer.isOpened():
        scratch.unlink()
        raise PenumbraError(
            "record: this OpenCV cannot write MPEG-4 video; install the opencv-contrib-python "
            "wheel, which brings FFmpeg."
        )
    os.replace(scratch, path)  # the writer holds the open file, not its name
    return writer
