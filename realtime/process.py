"""What a command does to its process before anything else: safe streams, and one stop.

One stop for Ctrl-C (SIGINT), `kill` (SIGTERM) and a closed terminal (SIGHUP):

    prepare_streams()
    with StopSignals() as signals:
        ...                              # loading: a signal ends the process at once
        signals.stop_in_order(stop)
        ...                              # running: the first signal calls `stop`, a second one ends
                                         # the process at once
        signals.ignore()                 # all is written: nothing is left to stop

Signals are received by a thread through a pipe (`signal.set_wakeup_fd`), not by exceptions in the
main thread: an exception could strike in the middle of an import or of a closing file, and would
have to wait for a call into a library to return. Only light imports, so that it can come first.
"""

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
REPEAT_S = 0.3
"""A signal that follows this soon repeats the one before: a closing terminal and `timeout` send
theirs to the process and to its group."""


def prepare_streams() -> None:
    """Make stdin, stdout and stderr safe to have; comes before any file is opened.

    A descriptor that the parent has closed (`>&-`) is opened on the null device: else the next file
    would get its number, and libraries that print would write into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class StopSignals:
    """Receives the stop signals. A context manager, entered on the main thread.

    Signals that the parent has had ignored (`nohup`) stay ignored.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        """The first one."""
        self._stop: Callable[[str], None] | None = None
        self._unfinished: Callable[[], list[str]] = list
        self._ignored = False
        self._lock = threading.Lock()
        self._handled = [s for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN]
        self._before = {number: signal.getsignal(number) for number in self._handled}
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, end == self._pipe[0])
        self._wakeup_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in self._handled:
            signal.signal(number, _leave_to_thread)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    @property
    def exit_status(self) -> int:
        """128 plus the number of the signal, as shells have it; 0 when there was none."""
        return 0 if self.received is None else 128 + self.received

    def stop_in_order(
        self, stop: Callable[[str], None], unfinished: Callable[[], list[str]] = list
    ) -> None:
        """From now on the first signal calls `stop`, and only a second one ends the process.

        Args:
            stop: Asks the run to end; gets the signal's name in another thread, returns at once.
            unfinished: What to tell when the process ends before the run has: one sentence each.
        """
        with self._lock:
            self._stop, self._unfinished = stop, unfinished

    def ignore(self) -> None:
        """From now on a signal has no effect; the process ends by itself."""
        with self._lock:
            self._ignored = True

    def __enter__(self) -> "StopSignals":
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._pipe[1])  # ends the thread
        self._thread.join()
        os.close(self._pipe[0])

    def _watch(self) -> None:
        last_s = float("-inf")
        while numbers := os.read(self._pipe[0], 1):
            if numbers[0] not in self._handled:
                continue
            now_s = time.monotonic()
            repeated = now_s - last_s < REPEAT_S
            last_s = now_s
            with self._lock:
                if not (self._ignored or (repeated and self.received is not None)):
                    self._receive(signal.Signals(numbers[0]))

    def _receive(self, number: signal.Signals) -> None:
        first, self.received = self.received is None, self.received or number
        if first and self._stop is not None:
            self._stop(number.name)
            return
        for sentence in [*self._unfinished(), "stopped"]:
            write_line(sentence)
        os._exit(128 + number)


def write_line(text: str) -> None:
    """Write to stderr past Python's buffers, whose locks the main thread may hold."""
    with contextlib.suppress(OSError):  # the terminal is gone
        os.write(2, text.encode(errors="backslashreplace") + b"\n")


def _leave_to_thread(_number: int, _frame: object) -> None:
    """Do nothing: the thread has been told through the pipe."""
