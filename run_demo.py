"""Live 3D human pose with its uncertainty, from a webcam, a file, a stream or the built-in demo.

    python run_demo.py --cam 0
    python run_demo.py --video walk.mp4 --headless --every-frame --out walk.npz
    python run_demo.py --demo --record demo_out.mp4

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

import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from engines.errors import PenumbraError
from engines.printable import printable
from realtime.config import RunConfig, Size
from realtime.console import Console, PrintableFormatter, complain

if TYPE_CHECKING:
    from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

    from realtime.session import Outcome, Session
    from realtime.view.viewer import Viewer

_ARGUMENT = re.compile(rf"^({'|'.join(field.name for field in fields(RunConfig))})(?=:)|`(\w+)`")


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """Read the command line."""
    import tyro

    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_size_rule)
    assert __doc__ is not None
    return tyro.cli(
        RunConfig, prog="run_demo.py", description=__doc__, args=argv, registry=registry
    )


def _size_rule(argument: "PrimitiveTypeInfo") -> "PrimitiveConstructorSpec | None":
    """How a size is written: 1280x720."""
    from tyro.constructors import PrimitiveConstructorSpec

    if argument.type != (Size | None):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="WxH",
        instance_from_str=lambda words: _size(words[0]),
        is_instance=lambda value: value is None or isinstance(value, Size),
        str_from_instance=lambda size: ["None" if size is None else f"{size.width}x{size.height}"],
    )


def _size(text: str) -> Size:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text, re.ASCII)
    if match is None:
        raise ValueError(f"'{text}' is no size; write it as 1280x720.")
    return Size(int(match[1]), int(match[2]))


def run(config: RunConfig, signals: StopSignals) -> int:
    """Run to the end of the source; the window, if there is one, has the main thread.

    Returns:
        The exit status.
    """
    from realtime.session import Session
    from realtime.view.viewer import Viewer, why_no_window

    console = Console()
    no_window = "No window: headless." if config.headless else why_no_window()
    session = Session(config)
    signals.stop_in_order(session.stop, session.unfinished)
    with session:
        backend, name = session.pipeline.backend, printable(session.source.name)
        console.say(f"{name}: {config.hypotheses} hypotheses on {backend}")
        if session.publisher is not None:
            console.say(f"publishing on {session.publisher.endpoint}")
        if no_window is None:
            outcome = _run_with_window(session, Viewer(session.body.decimated.faces))
        else:
            if not config.headless:
                console.say(no_window)
            outcome = session.run()
    signals.ignore()
    _report(outcome, console)
    if console.error is not None:
        complain(f"stdout: cannot be written ({console.error.strerror}); write it elsewhere.")
        return 3
    return 3 if session.failed else signals.exit_status


def _run_with_window(session: "Session", viewer: "Viewer") -> "Outcome":
    """Run the pipeline in a thread and the window here; when one ends it ends the other."""
    results: list[Outcome] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(session.run(viewer.show))
        except BaseException as error:  # raised again in the main thread
            errors.append(error)
        viewer.close()

    thread = threading.Thread(target=work, name="pipeline")
    thread.start()
    try:
        viewer.run()
    finally:  # whatever ended the window: nothing may be closed under the thread
        session.stop()
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _report(outcome: "Outcome", console: Console) -> None:
    console.say(
        f"{outcome.frames} frames, {outcome.fps:.1f} per second, {outcome.dropped} dropped; "
        f"{outcome.timing}"
    )
    for text in (outcome.left_out, outcome.demo_table):
        if text is not None:
            console.say(text)


def command(argv: Sequence[str] | None, signals: StopSignals) -> int:
    """Run as the command line says; the exit status, see the top of this file."""
    _log_to_stderr()
    try:
        status = run(parse(argv), signals)
    except PenumbraError as error:
        complain(f"run_demo.py: {with_options(str(error))}")
        return 2
    except ImportError as error:
        library = re.search(r"lib[\w.+-]+\.so[.\d]*", str(error))
        if library is None:
            raise
        complain(
            f"run_demo.py: the system library {library[0]} is missing; on Debian or Ubuntu: "
            "apt-get install libgl1 libglib2.0-0."
        )
        return 2
    except KeyboardInterrupt:
        status = 130
    if status > 128:
        complain("stopped")
    return status


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


if __name__ == "__main__":
    # Not sys.exit: all is written, and a read that a broken device never returns from would hold
    # up the interpreter's own end.
    os._exit(command(None, _process_signals))  # pyright: ignore[reportPossiblyUnboundVariable]
