"""Prints what a Penumbra publishes: `python -m realtime.subscribe`. Needs pyzmq and msgpack and
nothing else.

Once a second: rate, losses, latency, and every joint with its standard deviation and a mark where
it is guessed. With `--json`: one line for each message, without the hypotheses.
"""

import argparse
import json
import math
import os
import sys
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from engines.errors import PenumbraError
from realtime.stream.endpoint import is_local
from realtime.stream.message import PersonMessage, PoseMessage, StreamCalibration
from realtime.stream.wire import DEFAULT_ENDPOINT, Array, VersionError
from realtime.subscriber import Subscriber

PATIENCE_S = 3.0
CLEAR = "\033[H\033[J"


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    try:
        with Subscriber(
            args.endpoint, latest_only=not args.every_message, timeout_s=PATIENCE_S
        ) as poses:
            _print_messages(poses, args.count, args.json)
    except KeyboardInterrupt:
        return 0
    except (
        BrokenPipeError
    ):  # `| head` has seen enough; Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (PenumbraError, VersionError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m realtime.subscribe", description="Print Penumbra's pose stream."
    )
    parser.add_argument(
        "--endpoint",
        default=DEFAULT_ENDPOINT,
        help="where Penumbra publishes (default: %(default)s)",
    )
    parser.add_argument(
        "--every-message", action="store_true", help="receive all messages, not only the newest"
    )
    parser.add_argument(
        "--count", type=int, metavar="N", help="end after N messages (default: never)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line for each message")
    args = parser.parse_args(argv)
    if args.count is not None and args.count < 1:
        parser.error(f"argument --count: {args.count} must be at least 1")
    return args


def _print_messages(poses: Subscriber, count: int | None, as_json: bool) -> None:
    second = Second()
    while count is None or poses.received < count:
        try:
            message = poses.recv()
        except TimeoutError as error:
            print(f"{error} Still waiting, Ctrl-C ends.", file=sys.stderr)
            continue
        second.add(message)
        if as_json:
            print(json.dumps(as_dict(message)), flush=True)
        elif second.is_over() or poses.received == count:
            print((CLEAR if sys.stdout.isatty() else "") + second.report(poses), flush=True)
            second = Second()


@dataclass
class Second:
    """What came since the last printout."""

    arrivals_s: list[float] = field(default_factory=list)
    """`time.monotonic()` of each message."""
    mono_ms: list[float] = field(default_factory=list)
    unix_ms: list[float] = field(default_factory=list)
    last: PoseMessage | None = None

    def add(self, message: PoseMessage) -> None:
        self.arrivals_s.append(time.monotonic())
        self.mono_ms.append((time.monotonic_ns() - message.t_capture_mono_ns) / 1e6)
        self.unix_ms.append((time.time_ns() - message.t_capture_unix_ns) / 1e6)
        self.last = message

    def is_over(self) -> bool:
        return self.arrivals_s[-1] - self.arrivals_s[0] >= 1.0

    def report(self, poses: Subscriber) -> str:
        assert self.last is not None
        message = self.last
        intervals, elapsed = len(self.arrivals_s) - 1, self.arrivals_s[-1] - self.arrivals_s[0]
        rate = f"{intervals / elapsed:.1f}" if elapsed > 0 else "?"
        calibration = (
            "not calibrated" if message.calibration is None else _in_words(message.calibration)
        )
        lines = [
            f"{message.source}  {message.image_size[0]}x{message.image_size[1]}  "
            f"{message.backend}  {calibration}",
            f"message {message.seq}  {rate}/s  lost {poses.lost}  refused {poses.refused}  "
            f"frames dropped before the network {message.dropped}",
            self._latency(poses.endpoint),
        ]
        for person in message.people:
            lines += person_lines(person, message.joint_names)
        return "\n".join(lines if message.people else [*lines, "nobody is there"])

    def _latency(self, endpoint: str) -> str:
        """Machines share no monotonic clock, so over a network only Unix time can be compared, as
        well as it is set.
        """
        same_machine = is_local(endpoint)
        clock = "monotonic clock" if same_machine else "Unix clocks of two machines"
        values = self.mono_ms if same_machine else self.unix_ms
        return f"capture to here {median(values):.1f} ms, worst {max(values):.1f} ms ({clock})"


def person_lines(person: PersonMessage, names: tuple[str, ...]) -> list[str]:
    """One line for each joint: camera coordinates in metres, standard deviation in centimetres, a
    mark if guessed.
    """
    distance_cm = 100 * person.distance_std
    head = (
        f"person {person.track_id}  score {person.score:.2f}  "
        f"distance ± {distance_cm:.1f} cm, not in the std below"
    )
    rows = zip(
        names,
        person.joints.tolist(),
        person.joint_std.tolist(),
        person.guessed.tolist(),
        strict=True,
    )
    return [
        head,
        f"  {'joint':<15}{'x':>8}{'y':>8}{'z':>8} m{'std':>8} cm",
        *(
            f"  {name:<15}{x:8.3f}{y:8.3f}{z:8.3f}  {100 * std:8.1f}   "
            f"{'guessed' if guessed else ''}".rstrip()
            for name, (x, y, z), std, guessed in rows
        ),
    ]


def _in_words(calibration: StreamCalibration) -> str:
    """Such as: calibrated (flow.onnx: 90 % ellipsoids hold 89 %)."""
    measured = [
        f"{nominal:.0%} ellipsoids hold {share:.0%}"
        for nominal, share in calibration.levels
        if nominal == 0.9
    ]
    return f"calibrated ({': '.join([calibration.name, *measured])})"


def as_dict(message: PoseMessage) -> dict[str, Any]:
    """The message for JSON: without the hypotheses, and with None for what is not a finite
    number.
    """
    fields = {
        key: value for key, value in vars(message).items() if key not in ("people", "calibration")
    }
    fields["calibration"] = message.calibration and vars(message.calibration)
    fields["people"] = [
        {key: value for key, value in vars(person).items() if key != "hypotheses"}
        for person in message.people
    ]
    return _plain(fields)


def _plain(value: Any) -> Any:
    if isinstance(value, Array):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
