"""Live 3D human pose with its uncertainty, from a webcam, a file, a stream or the built-in demo.

python run_demo.py --cam 0
python run_demo.py --video walk.mp4 --headless --every-frame --out walk.npz
python run_demo.py --demo --record demo_out.mp4
"""

import argparse
import logging
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import PenumbraError
from realtime.config import RunConfig
from realtime.stream.wire import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from realtime.session import Outcome, Session
    from realtime.view.viewer import Viewer


def parse(argv: list[str] | None = None) -> RunConfig:
    """The command line as a `RunConfig`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--cam", metavar="N|NAME", help="webcam by index or device name")
    source.add_argument(
        "--video", metavar="FILE|FOLDER|URL", help="video, folder of images, or RTSP/HTTP address"
    )
    source.add_argument(
        "--demo", action="store_true", help="the built-in clip with known truth (default)"
    )
    add = parser.add_argument
    add(
        "--every-frame",
        action="store_true",
        help="look at every frame of a recording; default: keep its pace and drop",
    )
    add(
        "--size",
        type=_size,
        metavar="WxH",
        help="px to ask of a webcam, such as 1280x720 (default: its own choice)",
    )
    add("--fps", type=float, help="pictures a second of a folder of images (default 30)")
    add(
        "--hypotheses",
        type=int,
        default=100,
        metavar="K",
        help="bodies drawn a frame (default %(default)s)",
    )
    add(
        "--backend",
        default="auto",
        help="auto, openvino, onnxruntime, torch, torch-cuda or tensorrt (default auto)",
    )
    add(
        "--focal",
        type=float,
        metavar="PX",
        help="focal length; default: a field of view of 63 degrees is assumed",
    )
    add(
        "--calib",
        type=Path,
        metavar="FILE",
        help="camera calibration (JSON with matrix, size, dist)",
    )
    add(
        "--body",
        type=Path,
        metavar="FILE",
        help="body made by python -m engines.convert_smpl; default: the built-in one",
    )
    add(
        "--model",
        type=Path,
        metavar="FILE",
        help="flow made by python -m trainer.export_onnx; default: the built-in one",
    )
    add("--no-smoothing", action="store_true", help="best estimate of each frame alone")
    add("--headless", action="store_true", help="no window")
    add("--record", type=Path, metavar="FILE.mp4", help="record what the window shows")
    add("--out", type=Path, metavar="OUT.npz", help="write every estimate to a file")
    add("--endpoint", default=DEFAULT_ENDPOINT, help="where to publish (default %(default)s)")
    add("--no-publish", action="store_true", help="publish nothing")
    add("--allow-lan", action="store_true", help="let --endpoint be reachable from other machines")
    add("--max-frames", type=int, metavar="N", help="stop after N frames")
    a = parser.parse_args(argv)
    return RunConfig(
        source=a.cam if a.cam is not None else a.video,
        camera=a.cam is not None,
        size=a.size,
        fps=a.fps,
        every_frame=a.every_frame,
        hypotheses=a.hypotheses,
        backend=a.backend,
        focal=a.focal,
        calib=a.calib,
        body=a.body,
        model=a.model,
        smooth=not a.no_smoothing,
        headless=a.headless,
        record=a.record,
        out=a.out,
        endpoint=None if a.no_publish else a.endpoint,
        allow_lan=a.allow_lan,
        max_frames=a.max_frames,
    )


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write it as 1280x720")
    return int(match[1]), int(match[2])


def run(config: RunConfig) -> None:
    """Run to the end of the source; the window, if there is one, has the main thread."""
    from realtime.session import Session
    from realtime.view.viewer import Viewer, why_no_window

    reason = "No window: --headless." if config.headless else why_no_window()
    with Session(config) as session:
        print(
            f"{session.source.name}: {config.hypotheses} hypotheses on {session.pipeline.backend}",
            flush=True,
        )
        if session.publisher is not None:
            print(f"publishing on {session.publisher.endpoint}", flush=True)
        if reason is not None:
            if not config.headless:
                print(reason, flush=True)
            outcome = session.run()
        else:
            outcome = _run_with_window(session, Viewer(session.body.decimated.faces))
    print(
        f"{outcome.frames} frames, {outcome.fps:.1f} a second, {outcome.dropped} dropped; {outcome.timing}"
    )
    if outcome.left_out:
        print(outcome.left_out)
    if outcome.demo_table:
        print(outcome.demo_table)


def _run_with_window(session: "Session", viewer: "Viewer") -> "Outcome":
    """The pipeline in a thread, the window here; whoever ends first ends the other."""
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
    finally:  # also after Ctrl-C: nothing may be closed under the thread
        session.stop()
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def main(argv: list[str] | None = None) -> int:
    """Exit status 0, or 2 with one sentence where the user can put something right."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run(parse(argv))
        sys.stdout.flush()  # a reader who has gone is found out here, not when Python exits
    except PenumbraError as error:
        print(f"run_demo.py: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        library = re.search(r"lib[\w.+-]+\.so[.\d]*", str(error))
        if library is None:
            raise
        print(
            f"run_demo.py: the system library {library[0]} is missing; on Debian or Ubuntu: "
            "apt-get install libgl1 libglib2.0-0.",
            file=sys.stderr,
        )
        return 2
    except (
        BrokenPipeError
    ):  # `| head` has seen enough; Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
