"""Reads a source in a thread of its own, or in the pipeline's, behind one iterator.

with frames(source) as stream:
    for frame in stream:
        ...
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import replace

from realtime.capture.frame import Frame, LatestSlot, NoNewFrame
from realtime.capture.sources import Source
from realtime.timing import NS_PER_S

log = logging.getLogger(__name__)

MAX_PACE_WAIT_S = 1.0
POLL_S = 0.1
JOIN_S = 0.5


class CaptureThread:
    """A daemon thread that owns a source and keeps the newest frame in a slot.

    A live source sets its own pace. A recording plays at the pace of its time stamps: each frame is
    put into the slot when it is due, and is stamped with that instant, as if a camera had taken it
    then. Whatever ends the stream, an exception included, reaches the reader through the slot.
    """

    def __init__(self, source: Source, slot: LatestSlot) -> None:
        self._source = source
        self._slot = slot
        self._pace = None if source.live else _Pace(max(MAX_PACE_WAIT_S, 1.0 / source.fps))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begin to read; call it once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, free the source, and close the slot; it may be called again.

        This takes less than a second: a read that does not return is left behind.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(POLL_S)
        self._source.close()  # also ends a wait for reconnection, so it comes before the long join
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if self._thread.is_alive():
            log.info("'%s' does not return from a read, which is left behind", self._source.name)
        self._slot.close()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._fill_slot()
        except BaseException as caught:  # passed to the reader, which raises it
            error = caught
        self._source.close()
        self._slot.close(error)

    def _fill_slot(self) -> None:
        while not self._stopping.is_set():
            frame = self._source.read()
            if frame is None:
                return
            if self._pace is not None:
                frame = self._pace.hold(frame, self._stopping)
            if not self._stopping.is_set():
                self._slot.put(frame)


class _Pace:
    """Releases the frames of a recording when their media time has come."""

    def __init__(self, longest_s: float = MAX_PACE_WAIT_S) -> None:
        self._longest_s = longest_s
        self._start_ns: int | None = None  # monotonic instant of media time zero
        self._shot = 0

    def hold(self, frame: Frame, stopping: threading.Event) -> Frame:
        """Wait until the frame is due and stamp it with that instant."""
        media_ns = round(frame.info.media_time_s * NS_PER_S)
        now_ns = time.monotonic_ns()
        if self._start_ns is None:
            self._start_ns = now_ns - media_ns
        due_ns = self._start_ns + media_ns
        # A hole in the time stamps would stop the stream; it is shortened, and what follows
        # moves up.
        latest_ns = now_ns + round(self._longest_s * NS_PER_S)
        jumped, self._shot = frame.info.shot != self._shot, frame.info.shot
        if due_ns > latest_ns and jumped:  # the user went there and is not to wait
            self._start_ns, due_ns = now_ns - media_ns, now_ns
        elif due_ns > latest_ns:
            self._start_ns -= due_ns - latest_ns
            due_ns = latest_ns
        if due_ns > now_ns:
            stopping.wait((due_ns - now_ns) / NS_PER_S)
        else:  # decoding is slower than the recording: go on from here, without a rush to catch up
            self._start_ns = now_ns - media_ns
        return replace(frame, info=replace(frame.info, t_capture_ns=time.monotonic_ns()))


@contextlib.contextmanager
def frames(
    source: Source, every_frame: bool = False, stop: threading.Event | None = None
) -> Iterator[Iterator[Frame]]:
    """Iterate over the frames of a source, and close it at the end.

    Args:
        source: Open.
        every_frame: Read a recording frame by frame, as fast as the consumer asks, and drop
            nothing. Otherwise a thread reads at the source's own pace and the consumer gets the
            newest frame.
        stop: Ends a wait for a frame that may never come.
    """
    assert not (every_frame and source.live), f"{source.name} is live and cannot wait"
    stop = stop or threading.Event()
    if every_frame:
        each = _each_remote(source, stop) if source.remote else _each(source)
        with source, contextlib.closing(each):
            yield each
        return
    slot = LatestSlot()
    thread = CaptureThread(source, slot)
    thread.start()
    try:
        yield _newest(slot, stop)
    finally:
        thread.stop()


def _each(source: Source) -> Generator[Frame, None, None]:
    while (frame := source.read()) is not None:
        yield frame


def _each_remote(source: Source, stop: threading.Event) -> Generator[Frame, None, None]:
    """Read in a thread, one frame ahead, so that a stop does not wait for the network."""
    left = threading.Event()
    items: queue.Queue[Frame | BaseException | None] = queue.Queue(1)

    def read() -> None:
        item: Frame | BaseException | None = None
        while not left.is_set():
            try:
                item = source.read()
            except BaseException as error:  # raised in the consumer's thread
                item = error
            while not left.is_set():
                with contextlib.suppress(queue.Full):
                    items.put(item, timeout=POLL_S)
                    break
            if not isinstance(item, Frame):
                return

    threading.Thread(target=read, name="capture", daemon=True).start()
    try:
        while not stop.is_set():
            try:
                item = items.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item
    finally:
        left.set()


def _newest(slot: LatestSlot, stop: threading.Event) -> Iterator[Frame]:
    while not stop.is_set():
        try:
            frame = slot.get(POLL_S)  # not for ever: Windows cannot interrupt an endless wait
        except NoNewFrame:
            continue
        if frame is None:
            return
        yield frame
