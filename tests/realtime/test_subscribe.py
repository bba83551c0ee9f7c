"""`python -m realtime.subscribe` as a user runs it."""

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from engines.rotations import exp_so3
from engines.types import JOINT_NAMES, World
from realtime import subscribe
from realtime.stream.decode import decode
from realtime.stream.encode import encode_estimate
from realtime.stream.publisher import Publisher
from realtime.subscriber import Subscriber
from tests.support.example_estimate import INFO, STAMP, make_estimate
from tests.support.paths import ROOT


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*") as publisher:
        yield publisher


def run_subscribe(publisher: Publisher, *args: str) -> tuple[int, str, str]:
    """Publishes until the command has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "realtime.subscribe", "--endpoint", publisher.endpoint, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        publisher.publish(make_estimate(), INFO)
        time.sleep(0.01)
    out, err = process.communicate()
    return process.returncode, out, err


def test_subscribe_prints_joints_with_their_spread(publisher: Publisher) -> None:
    code, out, err = run_subscribe(publisher, "--count", "3")
    estimate = make_estimate()
    assert estimate.person is not None
    assert (code, err) == (0, "")
    assert "not calibrated" in out
    assert "monotonic clock" in out
    assert "distance ± 20.0 cm (x 0.0, y 9.6, z 19.7), not in the std below" in out
    head = next(line for line in out.splitlines() if line.split()[:1] == ["head"])
    std_cm = 100 * np.sqrt(np.trace(estimate.person.joint_cov[15]) / 3)
    np.testing.assert_allclose(
        [float(x) for x in head.split()[1:4]], estimate.person.best.joints[15], atol=6e-4
    )
    assert float(head.split()[4]) == pytest.approx(std_cm, abs=0.06)
    for name, visible in zip(JOINT_NAMES, estimate.person.joint_visible, strict=True):
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert line.endswith("guessed") == (visible < 0.5)


def test_subscribe_prints_one_json_line_for_each_message(publisher: Publisher) -> None:
    code, out, _ = run_subscribe(publisher, "--count", "4", "--json", "--every-message")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["seq"] - lines[0]["seq"] for line in lines] == [0, 1, 2, 3]
    assert np.shape(lines[0]["people"][0]["joint_cov"]) == (24, 6)
    assert np.shape(lines[0]["people"][0]["common_cov"]) == (6,)


def test_subscribe_waits_with_a_sentence_and_ends_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "realtime.subscribe", "--endpoint", "tcp://127.0.0.1:9"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 100)[0]
    assert "Still waiting" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_the_example_in_the_readme_prints_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = make_estimate()
    message = decode(encode_estimate(estimate, INFO, STAMP))
    monkeypatch.setattr("realtime.subscriber.Subscriber", lambda: nullcontext([message]))
    code = (ROOT / "README.md").read_text().split("## Read the stream")[1].split("```")[1]
    exec(code.removeprefix("python"), {})
    printed = capsys.readouterr().out
    (person,) = message.people
    assert printed.startswith(f"{message.seq} {person.joints.tolist()} ") and "Array" not in printed
    assert "memory" not in repr(person.joints) and "(24, 3)" in repr(person.joints)


def test_subscribe_refuses_a_malformed_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        subscribe.main(["--endpoint", "nonsense"])
    assert capsys.readouterr().err.count("\n") == 1


def test_json_has_no_nan() -> None:
    estimate = make_estimate()
    assert estimate.person is not None
    estimate.person.joint_cov[3] = np.nan
    line = json.dumps(
        subscribe.as_dict(decode(encode_estimate(estimate, INFO, STAMP))), allow_nan=False
    )
    assert json.loads(line)["people"][0]["joint_std"][3] is None


def test_a_name_with_terminal_escapes_is_printed_harmlessly() -> None:
    """Titles, colours, cursor and bidirectional overrides, from every text that is printed."""
    evil = "cam\x1b]0;owned\x07\x1b[2J\x9b1m\n\u202ebackwards"
    info = replace(INFO, source=evil, backend=evil)
    second = subscribe.Second()
    second.add(decode(encode_estimate(make_estimate(), info, STAMP)))
    with Subscriber("tcp://127.0.0.1:9") as stream:
        report = second.report(stream)
    assert "owned" in report and "backwards" in report
    assert all(line.isprintable() for line in report.split("\n"))
    assert report.count("\n") == 4 + 1 + 24


@pytest.mark.parametrize("count", ["0", "-1"])
def test_subscribe_refuses_a_count_below_one(
    capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        subscribe.main(["--count", count])
    assert capsys.readouterr().err == f"count: must be at least 1, not {count}; ask for more.\n"


def test_how_the_camera_is_held_is_printed() -> None:
    """A camera that looks 20 degrees down and is rolled clockwise by 30, by its own geometry."""
    level = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    down = exp_so3(np.array([-np.radians(20), 0, 0]))
    T = np.eye(4)
    T[:3, :3] = level @ down @ exp_so3(np.array([0, 0, np.radians(30)]))
    T[2, 3] = 1.5
    estimate = replace(
        make_estimate(), world=World(T, np.radians(3) ** 2 * np.eye(2) / 2, 0.12, "estimated")
    )
    message = decode(encode_estimate(estimate, INFO, STAMP))
    assert message.world is not None
    line = subscribe.world_line(message.world)
    assert "looks 20° down, rolled 30° clockwise, ± 3.0°" in line
    assert "height 1.50 m ± 12 cm" in line
    assert "(a guess)" in subscribe.world_line(replace(message.world, floor_std=None))
    assert json.loads(json.dumps(subscribe.as_dict(message)))["world"]["floor_std"] == 0.12
