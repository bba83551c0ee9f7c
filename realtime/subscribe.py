"""Prints what a Penumbra publishes: `python -m realtime.subscribe`.

Once a second: rate, losses, latency, and every joint with its standard deviation and a mark where
it is guessed. With `--json`: one line for each message, without the hypotheses.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from engines import command
from engines.errors import PenumbraError
from engines.printable import printable
from realtime.stream.endpoint import is_local
from realtime.stream.message import (
    PersonMessage,
    PoseMessage,
    StreamCalibration,
    WorldMessage,
)
from realtime.stream.wire import DEFAULT_ENDPOINT, Array, VersionError
from realtime.subscriber import Subscriber

PATIENCE_S = 3.0
CLEAR = "\033[H\033[J"


@dataclass(frozen=True)
class Options:
    """Print Penumbra's pose stream."""

    endpoint: str = DEFAULT_ENDPOINT
    """Where Penumbra publishes."""
    every_message: bool = False
    """Receive all messages, not only the newest."""
    count: int | None = None
    """End after so many messages; by default never."""
    json: bool = False
    """Print one JSON line for each message."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 2 where something must be put right."""
    command.start(run, Options, arguments)


def run(options: Options) -> None:
    """Print messages until there were enough, or until Ctrl-C."""
    if options.count is not None and options.count < 1:
        raise PenumbraError(f"count: must be at least 1, not {options.count}; ask for more.")
    latest_only = not options.every_message
    try:
        with Subscriber(options.endpoint, latest_only=latest_only, timeout_s=PATIENCE_S) as stream:
            _print_messages(stream, options.count, options.json)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # `| head` has read enough
        command.discard(sys.stdout.fileno())
    except VersionError as error:
        raise PenumbraError(str(error)) from error


def _print_messages(stream: Subscriber, count: int | None, as_json: bool) -> None:
    second = Second()
    while count is None or stream.received < count:
        try:
            message = stream.recv()
        except TimeoutError as error:
            print(f"{error} Still waiting, Ctrl-C ends.", file=sys.stderr)
            continue
        second.add(message)
        if as_json:
            print(json.dumps(as_dict(message)), flush=True)
        elif second.is_over() or stream.received == count:
            print((CLEAR if sys.stdout.isatty() else "") + second.report(stream), flush=True)
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

    def report(self, stream: Subscriber) -> str:
        assert self.last is not None
        message = self.last
        intervals, elapsed = len(self.arrivals_s) - 1, self.arrivals_s[-1] - self.arrivals_s[0]
        rate = f"{intervals / elapsed:.1f}" if elapsed > 0 else "?"
        calibration = _in_words(message.calibration)
        width, height = message.image_size
        lines = [
            f"{message.source}  {width}x{height}  {message.backend}  {calibration}",
            f"message {message.seq}  {rate}/s  lost {stream.lost}  refused {stream.refused}  "
            f"frames dropped before the network {message.dropped}",
            self._latency(stream.endpoint),
            *([] if message.world is None else [world_line(message.world)]),
        ]
        for person in message.people:
            lines += person_lines(person, message.joint_names)
        if not message.people:
            lines.append("no person")
        return "\n".join(printable(line) for line in lines)

    def _latency(self, endpoint: str) -> str:
        """From capture to now.

        Machines share no monotonic clock, so over a network only Unix time can be compared, as well
        as it is set.
        """
        same_machine = is_local(endpoint)
        clock = "monotonic clock" if same_machine else "Unix clocks of two machines"
        values = self.mono_ms if same_machine else self.unix_ms
        return f"capture to here {median(values):.1f} ms, worst {max(values):.1f} ms ({clock})"


def world_line(world: WorldMessage) -> str:
    """How the camera is held: pitch and roll, degrees; how high, m."""
    x, y, z = world.T_world_cam[2][:3]
    down, roll = math.degrees(math.asin(max(-1.0, min(1.0, -z)))), math.degrees(math.atan2(-x, -y))
    sigma = math.degrees(math.sqrt(max(world.up_cov[0][0] + world.up_cov[1][1], 0.0)))
    height = f"{world.T_world_cam[2][3]:.2f} m"
    height += " (a guess)" if world.floor_std is None else f" ± {100 * world.floor_std:.0f} cm"
    return (
        f"camera looks {down:z.0f}° down, rolled {roll:z.0f}° clockwise, ± {sigma:.1f}°  "
        f"height {height}  gravity {world.source}"
    )


def person_lines(person: PersonMessage, names: tuple[str, ...]) -> list[str]:
    """One line for each joint: camera coordinates, m, standard deviation, cm, a mark if guessed."""
    head = (
        f"person {person.track_id}  score {person.score:.2f}  "
        f"distance ± {100 * person.distance_std:.1f} cm{_shared(person)}, not in the std below"
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
            f"  {name:<15}{x:8.3f}{y:8.3f}{z:8.3f}  {100 * std:8.1f}{'   guessed' * guessed}"
            for name, (x, y, z), std, guessed in rows
        ),
    ]


def _shared(person: PersonMessage) -> str:
    """Standard deviations, cm, of what all joints share; empty for an older publisher."""
    if person.common_cov is None:
        return ""
    variances = person.common_cov.tolist()
    x, y, z = (100 * math.sqrt(max(variances[i], 0.0)) for i in (0, 3, 5))
    return f" (x {x:.1f}, y {y:.1f}, z {z:.1f})"


def _in_words(calibration: StreamCalibration | None) -> str:
    """Such as: calibrated (flow.onnx: 90 % ellipsoids hold 89 %)."""
    if calibration is None:
        return "not calibrated"
    measured = [
        f"{nominal:.0%} ellipsoids hold {share:.0%}"
        for nominal, share in calibration.levels
        if nominal == 0.9
    ]
    return f"calibrated ({': '.join([calibration.name, *measured])})"


def as_dict(message: PoseMessage) -> dict[str, Any]:
    """The message for JSON: without the hypotheses, None for what is not a finite number."""
    fields = {
        key: value
        for key, value in vars(message).items()
        if key not in ("people", "calibration", "world")
    }
    fields["calibration"] = message.calibration and vars(message.calibration)
    fields["world"] = message.world and vars(message.world)
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
    main()
