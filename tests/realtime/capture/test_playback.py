"""A window pauses a recording, goes on frame by frame, and jumps in it."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engines.types import FrameInfo
from realtime.capture.frame import Frame
from realtime.capture.photos import Photos
from realtime.capture.playback import Playback, Played
from realtime.capture.reader import frames
from realtime.capture.sources import Recording
from realtime.playing import SessionControls
from tests.support.videos import write_images


class Numbers:
    """A recording of 100 numbered frames a tenth of a second apart."""

    live = remote = False
    name, fps, size, length = "numbers", 10.0, (4, 3), 100

    def __init__(self, pause_s: float = 0.0) -> None:
        self.next = self.shot = 0
        self.closed = False
        self.pause_s = pause_s

    def read(self) -> Frame | None:
        if self.closed or self.next == self.length:
            return None
        time.sleep(self.pause_s)
        info = FrameInfo(self.next, time.monotonic_ns(), self.next / self.fps, shot=self.shot)
        self.next += 1
        return Frame(np.zeros((3, 4, 3), np.uint8), info)

    def seek(self, time_s: float) -> None:
        self.next = round(time_s * self.fps)
        self.shot += 1

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> "Numbers":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def number(frame: Frame | None) -> int:
    assert frame is not None
    return frame.info.frame_id


def test_a_held_recording_gives_one_frame_for_each_step() -> None:
    playback = Playback()
    source = Played(Numbers(), playback)
    assert number(source.read()) == 0
    playback.pause(True)
    playback.step()
    playback.step()
    assert [number(source.read()), number(source.read())] == [1, 2]
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.append(number(source.read())))
    reader.start()
    reader.join(0.2)
    assert reader.is_alive() and not got
    playback.pause(False)
    reader.join(5)
    assert got == [3]


def test_a_jump_is_seen_even_while_the_recording_is_held() -> None:
    playback = Playback()
    source = Played(Numbers(), playback)
    source.read()
    playback.pause(True)
    playback.seek(5.0)
    frame = source.read()
    assert number(frame) == 50 and frame is not None and frame.info.shot == 1
    playback.seek(2.0)
    playback.seek(1.0)  # the last one counts
    assert number(source.read()) == 10


def test_closing_lets_a_held_read_return() -> None:
    playback = Playback()
    playback.pause(True)
    source = Played(Numbers(), playback)
    reader = threading.Thread(target=source.read)
    reader.start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()


@pytest.mark.parametrize("every_frame", [True, False])
def test_the_reader_pauses_jumps_and_ends(every_frame: bool) -> None:
    playback = Playback()
    source = Played(Numbers(0.001), playback)
    seen: list[int] = []
    began_s = time.monotonic()
    with frames(source, every_frame) as stream:
        for frame in stream:
            seen.append(frame.info.frame_id)
            if len(seen) == 2:
                playback.seek(9.5)  # nine seconds ahead are not waited for
            if len(seen) > 2 and seen[-1] >= 98:
                break
    assert min(seen) == 0 and 95 in seen and 50 not in seen
    assert time.monotonic() - began_s < 5


def test_what_is_saved_in_order_cannot_be_searched() -> None:
    followed: list[int] = []
    source = Numbers()
    assert isinstance(source, Recording)
    for saved in (True, False):
        controls = SessionControls(source, Playback(), followed.append, saved=saved, start_s=2.0)
        assert controls.pausable and controls.seekable is not saved
        assert controls.duration_s == 12.0
        controls.follow(7)
    assert followed == [7, 7]


def test_shots_of_a_recording_that_is_opened_again_are_new() -> None:
    playback = Playback()
    shots: list[int] = []
    for _ in range(3):
        playback.seek(9.0)
        source = Played(Numbers(), playback)
        shots += [frame.info.shot for frame in iter(source.read, None)]
        source.close()
    assert len(set(shots)) == 3 and shots == sorted(shots)


def test_a_photo_never_has_the_shot_of_another(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "photos", ["anna.png", "bert.png", "carl.png"])
    playback = Playback()
    seen: list[tuple[int, int]] = []
    for start_s in (0.0, 4.0, 2.0, 4.0):  # opened again and again, as after its end
        playback.seek(start_s)
        source = Played(Photos("photos", sorted(folder.iterdir())), playback)
        while (frame := source.read()) is not None:
            seen.append((frame.info.frame_id, frame.info.shot))
    assert [number for number, _ in seen] == [0, 1, 2, 2, 1, 2, 2]
    assert [shot for _, shot in seen] == list(range(7))


def test_going_to_the_photo_that_is_shown_begins_a_shot(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "photos", ["anna.png", "bert.png"])
    playback = Playback()
    source = Played(Photos("photos", sorted(folder.iterdir())), playback)
    shots: list[int] = []
    for _ in range(3):
        frame = source.read()
        assert number(frame) == 0 and frame is not None
        shots.append(frame.info.shot)
        playback.seek(0.0)
    assert shots == [0, 1, 2]


def test_the_end_is_left_by_a_jump_or_for_good() -> None:
    playback = Playback()
    for act, goes_on in ((lambda: playback.seek(1.0), True), (playback.end, False)):
        answers: list[bool] = []
        waiting = threading.Thread(target=lambda: answers.append(playback.wait_for_jump()))  # noqa: B023
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        act()
        waiting.join(5)
        assert answers == [goes_on]
        assert playback.hold(threading.Event()) == (1.0 if goes_on else None)
