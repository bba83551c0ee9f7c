"""Live 3D human pose with its uncertainty, from a webcam, a file, a stream or the built-in demo.

    python run_demo.py                                      the built-in demo
    python run_demo.py --cam 0                              a webcam
    python run_demo.py walk.mp4                             a video, a photo, a folder, an address
    python run_demo.py walk.mp4 --out walk.npz --record view.mp4

Installed with pip, the same is called `penumbra`.

Ctrl-C, `kill` (SIGTERM) and a closed terminal (SIGHUP) end the run in order: what was asked for is
written and complete. The same signal again ends it at once; no frame that was archived is lost.

Exit status:
    0      the run is complete
    2      an option, a file or a device is wrong; stderr says which and what to do
    3      the run went on to its end, but an output failed, for example on a full disk
    128+N  stopped by signal N: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP; the outputs are complete
"""

from realtime.process import StopSignals, prepare_streams

if __name__ == "__main__":  # before the other imports: Ctrl-C there would end in a traceback
    prepare_streams()
    _process_signals = StopSignals()

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, NoReturn

from engines.command import discard
from engines.errors import PenumbraError
from engines.printable import printable
from realtime.config import RunConfig
from realtime.console import Console, PrintableFormatter, complain

if TYPE_CHECKING:
    from realtime.progress import Tell
    from realtime.session import Outcome, Session
    from realtime.view.web.viewer import WebViewer

PROGRAM = "run_demo.py"
"""What messages call this program when it was not started under another name."""
_ARGUMENT = re.compile(rf"^({'|'.join(field.name for field in fields(RunConfig))})(?=:)|`(\w+)`")


def parse(argv: Sequence[str] | None = None, program: str = PROGRAM) -> RunConfig:
    """Read the command line.

    Raises:
        PenumbraError: There is no such option.
    """
    from realtime.command_line import parse_config

    assert __doc__ is not None
    return parse_config(argv, program, __doc__)


def run(config: RunConfig, signals: StopSignals) -> int:
    """Run to the end of the source; the window, if there is one, has the main thread.

    Returns:
        The exit status.
    """
    from realtime.progress import progress
    from realtime.session import Session

    console = Console()
    no_window = _why_no_window(config)
    session = Session(config)
    signals.stop_in_order(session.stop, session.outputs.unfinished)
    with contextlib.ExitStack() as views:  # a page outlives the run
        web = None
        with session:
            backend, name = session.pipeline.backend, printable(session.source.name)
            console.say(f"{name}: {config.hypotheses} hypotheses on {backend}")
            if session.publisher is not None:
                console.say(f"publishing on {session.publisher.endpoint}")
            if config.viewer == "web":
                web = views.enter_context(_open_page(session))
                console.say(f"view: open {web.url} in a browser")
            elif no_window is not None and not config.headless:
                console.say(no_window)
            at_end = _AtEnd(session, console, "close the window" if web is None else "Ctrl-C")
            with progress(session.length, live=session.source.live) as tell:
                if web is None and no_window is None:
                    outcome = _run_with_window(session, tell, at_end)
                elif web is None:
                    outcome = session.run(None, tell)
                else:  # a page outlives the run: it is held open for going back only
                    goes_back = session.controls.seekable
                    outcome = session.run(web.show, tell, at_end if goes_back else None)
        status = 0 if at_end.reached else signals.exit_status
        if web is None or status != 0 or at_end.reached:
            signals.ignore()
        if not at_end.reached:
            _report(outcome, console)
            if web is not None and status == 0:
                _keep_last_frame(web, signals, console)
                signals.ignore()
    if not at_end.reached:
        _say_what_was_written(session, console)
    if console.error is not None:
        complain(f"stdout: cannot be written ({console.error.strerror}); write it elsewhere.")
        return 3
    return 3 if session.outputs.failed else status


def _why_no_window(config: RunConfig) -> str | None:
    """Return why no window is opened, None where one is."""
    if config.headless or config.viewer != "window":
        return "No window: none was asked for."
    from realtime.view.display import why_no_window

    return why_no_window()


def _open_page(session: "Session") -> "WebViewer":
    from realtime.view.web.viewer import WebViewer

    return WebViewer(session.body, session.config.web_port, session.controls)


def _keep_last_frame(web: "WebViewer", signals: StopSignals, console: Console) -> None:
    """Leave the last frame of a source that has ended to browsers, until the user has seen it.

    The run is complete: the signal that ends the wait is no interruption of it.
    """
    seen = threading.Event()
    signals.stop_in_order(lambda _reason: seen.set())
    if signals.received is None:
        console.say(f"The last frame stays at {web.url}; Ctrl-C ends.")
        seen.wait()


class _AtEnd:
    """Reports a source that is through while its view stays open; the run is complete then."""

    def __init__(self, session: "Session", console: Console, to_end: str) -> None:
        self.reached = False
        self._session = session
        self._console = console
        self._to_end = to_end

    def __call__(self, outcome: "Outcome") -> None:
        self.reached = True
        _report(outcome, self._console)
        _say_what_was_written(self._session, self._console)
        self._console.say(f"The view stays open; {self._to_end} to end.")


def _run_with_window(session: "Session", tell: "Tell | None", at_end: _AtEnd) -> "Outcome":
    """Run the pipeline in a thread and the window here; when one ends it ends the other."""
    from realtime.view.viewer import Viewer

    viewer = Viewer(session.body, session.controls)
    results: list[Outcome] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(session.run(viewer.show, tell, at_end))
        except BaseException as error:  # raised again in the main thread
            errors.append(error)
        viewer.close()

    thread = threading.Thread(target=work, name="pipeline")
    thread.start()
    try:
        viewer.run()
    finally:  # whatever ended the window: nothing may be closed under the thread
        session.stop(None if session.source.live else "window closed")
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _report(outcome: "Outcome", console: Console) -> None:
    found = "nobody was found in any"
    if outcome.with_people:
        found = f"people were found in {outcome.with_people} of them"
    frames = "1 frame" if outcome.frames == 1 else f"{outcome.frames} frames"
    console.say(
        f"{frames} in {outcome.seconds:.1f} s ({outcome.fps:.1f} per second), "
        f"{outcome.dropped} dropped; {found} ({outcome.landmark_network} landmark network)"
    )
    for text in (outcome.timing, outcome.left_out, outcome.demo_table):
        if text is not None:
            console.say(text)


def _say_what_was_written(session: "Session", console: Console) -> None:
    config, failed = session.config, session.outputs.failed
    asked = {"out": config.out, "record": config.record}
    written = [
        str(path)
        for name, path in asked.items()
        if path is not None and name not in failed and path.is_file()
    ]
    if written:
        console.say(f"written: {', '.join(map(printable, written))}")


def command(argv: Sequence[str] | None, signals: StopSignals, program: str = PROGRAM) -> int:
    """Run as the command line says; the exit status, see the top of this file."""
    _log_to_stderr()
    try:
        status = run(_parse_or_end(argv, program), signals)
    except PenumbraError as error:
        complain(f"{program}: {with_options(str(error))}")
        return 2
    except ImportError as error:
        library = re.search(r"lib[\w.+-]+\.so[.\d]*", str(error))
        if library is None:
            raise
        complain(
            f"{program}: the system library {library[0]} is missing; on Debian or Ubuntu: "
            "apt-get install libgl1 libglib2.0-0."
        )
        return 2
    except KeyboardInterrupt:
        status = 130
    if status > 128:
        complain("stopped")
    return status


def _parse_or_end(argv: Sequence[str] | None, program: str) -> RunConfig:
    """Read the command line; `--help` ends the process, also where `| head` has read enough."""
    try:
        return parse(argv, program)
    except BrokenPipeError:
        discard(sys.stdout.fileno())
        sys.exit(0)


def with_options(sentence: str) -> str:
    """Write the arguments that a sentence names as options of this command.

    A sentence begins with its argument (`max_frames: ...`) and quotes others in backticks.
    """

    def option(match: re.Match[str]) -> str:
        return "--" + (match[1] or match[2]).replace("_", "-")

    return _ARGUMENT.sub(option, sentence)


def _log_to_stderr() -> None:
    """Log each message as one line, arguments as options."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(with_options))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def main(argv: Sequence[str] | None = None) -> int:
    """Run as the command line says; the exit status, see the top of this file."""
    with StopSignals() as signals:
        return command(argv, signals)


def penumbra() -> NoReturn:
    """The command `penumbra`, which pip installs: the same program under a name of its own."""
    prepare_streams()
    _end(command(None, StopSignals(), "penumbra"))


def _end(status: int) -> NoReturn:
    """End the process.

    Not by `sys.exit`: all is written, and a read that a broken device never returns from would hold
    up the interpreter's own end.
    """
    os._exit(status)


if __name__ == "__main__":
    _end(command(None, _process_signals))  # pyright: ignore[reportPossiblyUnboundVariable]
