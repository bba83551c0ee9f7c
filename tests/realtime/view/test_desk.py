"""Keys and mouse without a window: what changes in the picture, and what the run is asked for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.body import BodyModel
from engines.types import FrameInfo
from realtime.view.bar import timeline_track
from realtime.view.desk import Desk, Mouse
from realtime.view.image_panel import to_panel
from realtime.view.keys import HELP, KEYS, Key
from realtime.view.layout import arrange
from realtime.view.renderer import Renderer
from realtime.view.state import SIDE
from tests.support.views import two_people

SIZE = (900, 500)


class Asked:
    """Controls that write down what they are asked for."""

    def __init__(self, *, live: bool = False) -> None:
        self.pausable = self.seekable = not live
        self.duration_s = None if live else 60.0
        self.said: list[tuple[object, ...]] = []

    def pause(self, on: bool) -> None:
        self.said.append(("pause", on))

    def step(self) -> None:
        self.said.append(("step",))

    def seek(self, time_s: float) -> None:
        self.said.append(("seek", round(time_s, 2)))

    def follow(self, track_id: int) -> None:
        self.said.append(("follow", track_id))


class Hand:
    """A desk with two people on it."""

    def __init__(self, body: BodyModel, folder: Path, *, live: bool = False) -> None:
        self.asked = Asked(live=live)
        self.desk = Desk(Renderer(body), self.asked, folder)
        self.frame = two_people(body)
        self.desk.offer(self.frame)
        assert self.desk.picture(SIZE) is not None
        self.layout = arrange(SIZE, self.frame.intrinsics.size, timeline=not live)

    def press(self, name: str) -> None:
        self.desk.press(next(key for key in KEYS if key.name == name))

    def click(self, x: float, y: float) -> None:
        self.desk.mouse(Mouse("down", x, y))
        self.desk.mouse(Mouse("up", x, y))

    def joint(self, person: int, joint: int) -> tuple[float, float]:
        scene = self.desk._scene
        assert scene is not None
        point = scene.people[person].joints[joint]
        x, y = to_panel(scene, point, self.layout, mirror=self.desk.state.mirror)
        return self.layout.image.x + float(x), self.layout.image.y + float(y)


@pytest.fixture
def hand(body: BodyModel, tmp_path: Path) -> Iterator[Hand]:
    yield Hand(body, tmp_path)


def test_a_picture_is_drawn_only_when_something_has_changed(hand: Hand) -> None:
    assert hand.desk.picture(SIZE) is None
    hand.press("L")
    assert hand.desk.picture(SIZE) is not None
    assert hand.desk.picture(SIZE) is None
    assert hand.desk.picture((1000, 600)) is not None


@pytest.mark.parametrize("layer", ["body", "guesses", "ellipsoids", "trail", "landmarks"])
def test_each_layer_has_a_key(hand: Hand, layer: str) -> None:
    name = {"body": "B", "guesses": "G", "ellipsoids": "E", "trail": "T", "landmarks": "L"}[layer]
    before = getattr(hand.desk.state.layers, layer)
    hand.press(name)
    assert getattr(hand.desk.state.layers, layer) is not before
    hand.press("R")
    assert getattr(hand.desk.state.layers, layer) is before


def test_a_recording_is_paused_stepped_and_searched(hand: Hand) -> None:
    hand.press("SPACE")
    hand.press("PERIOD")
    hand.press("RIGHT")
    hand.press("RIGHT")
    hand.press("LEFT")
    hand.press("SPACE")
    start = hand.frame.estimate.frame.media_time_s
    assert hand.asked.said == [
        ("pause", True), ("step",), ("seek", start + 2), ("seek", start + 4), ("seek", start + 2),
        ("pause", False),
    ]  # fmt: skip
    track = timeline_track(hand.layout)
    hand.click(track.x + 0.25 * track.width, track.y + track.height / 2)
    assert hand.asked.said[-1] == ("seek", pytest.approx(15, abs=0.2))


def test_a_camera_goes_on_while_its_picture_stands_still(body: BodyModel, tmp_path: Path) -> None:
    hand = Hand(body, tmp_path, live=True)
    hand.press("SPACE")
    hand.desk.picture(SIZE)
    later = replace(hand.frame, estimate=replace(hand.frame.estimate, frame=FrameInfo(9, 0, 9.0)))
    hand.desk.offer(later)
    scene = hand.desk._scene
    assert scene is not None and scene.frame is hand.frame
    hand.press("PERIOD")
    assert hand.desk._scene is not None and hand.desk._scene.frame is later
    hand.press("RIGHT")
    assert hand.asked.said == [] and "recording" in hand.desk.state.message


@pytest.mark.parametrize("mirror", [False, True])
def test_a_click_follows_a_person_or_picks_a_joint(hand: Hand, mirror: bool) -> None:
    if mirror:
        hand.press("M")
    hand.click(*hand.joint(1, 3))
    assert hand.asked.said == [("follow", 9)]
    hand.click(*hand.joint(0, 20))
    assert hand.desk.state.joint == 20
    hand.click(*hand.joint(0, 20))
    assert hand.desk.state.joint is None
    hand.click(5, 5)
    assert hand.asked.said == [("follow", 9)] and hand.desk.state.joint is None


def test_the_world_is_turned_moved_and_zoomed(hand: Hand) -> None:
    world = hand.layout.world
    x, y = world.x + world.width / 2, world.y + world.height / 2
    hand.press("TWO")
    assert hand.desk.state.orbit == SIDE
    hand.desk.mouse(Mouse("down", x, y))
    hand.desk.mouse(Mouse("drag", x - 100, y))
    hand.desk.mouse(Mouse("up", x - 100, y))
    orbit = hand.desk.state.orbit
    assert orbit is not None and orbit.azimuth_deg == pytest.approx(125)
    hand.desk.mouse(Mouse("down", x, y, pan=True))
    hand.desk.mouse(Mouse("drag", x, y - world.height / 10, pan=True))
    hand.desk.mouse(Mouse("up", x, y - world.height / 10, pan=True))
    hand.desk.mouse(Mouse("wheel", x, y, wheel=1.0))
    orbit = hand.desk.state.orbit
    assert orbit is not None and orbit.pan == pytest.approx((0.0, 0.1))
    assert orbit.zoom == pytest.approx(1.1)
    hand.desk.mouse(Mouse("wheel", hand.layout.image.x + 5, hand.layout.image.y + 5, wheel=1.0))
    assert hand.desk.state.orbit == orbit
    hand.press("ONE")
    assert hand.desk.state.orbit is None


def test_a_screenshot_is_the_picture(hand: Hand, tmp_path: Path) -> None:
    hand.press("S")
    (path,) = tmp_path.glob("penumbra-*.png")
    saved = cv2.imread(str(path))
    assert saved is not None and hand.desk._picture is not None
    np.testing.assert_array_equal(saved, hand.desk._picture)
    assert path.name in hand.desk.state.message


def test_a_screenshot_that_cannot_be_written_is_said(body: BodyModel, tmp_path: Path) -> None:
    hand = Hand(body, tmp_path / "missing")
    hand.press("S")
    assert "cannot be written" in hand.desk.state.message


def test_help_names_every_key(hand: Hand) -> None:
    assert len({key.name for key in KEYS}) == len(KEYS)
    assert {key.label for key in KEYS} <= {label for label, _ in HELP}
    before = hand.desk._picture
    hand.press("H")
    shown = hand.desk.picture(SIZE)
    assert shown is not None and before is not None and shown.mean() < before.mean()


def test_every_key_does_something() -> None:
    def works(key: Key) -> bool:
        return (key.change is None) != (key.command is None)

    assert all(works(key) for key in KEYS)
