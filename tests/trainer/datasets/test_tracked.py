"""Landmarks that are kept: the same when they are read, and not those of other videos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.types import Landmarks, Roi
from tests.support.rigs import ring
from trainer.datasets import tracked as module
from trainer.datasets.recordings import Recording
from trainer.datasets.tracked import tracked


def found(seed: int) -> Landmarks:
    rng = np.random.default_rng(seed)
    roi = Roi(rng.uniform(0, 100, 2), 50.5, 0.25)
    parts = (rng.normal(size=(33, 2)), *rng.normal(size=(3, 33)), rng.normal(size=(33, 3)))
    return Landmarks(*parts, score=0.75, roi=roi, network="heavy", peak=rng.uniform(size=33))


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    cameras = []
    for number, camera in enumerate(ring(2)):
        video = tmp_path / f"cam_{number}.mp4"
        video.write_bytes(bytes([number]))
        cameras.append(replace(camera, video=video))
    return Recording("two", tuple(cameras), ((0, 0), (1, 1)))


def test_what_was_found_is_not_sought_again(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {"cam_0": [found(1), None, found(2)], "cam_1": [None, None]}
    sought: list[str] = []

    def track(camera, tracker) -> list[Landmarks | None]:
        sought.append(camera.video.stem)
        return frames[camera.video.stem]

    monkeypatch.setattr(module, "open_tracker", lambda network: None)
    monkeypatch.setattr(module, "track_landmarks", track)
    folder = tmp_path / "kept"
    for _ in range(2):
        tracks = tracked(recording, "heavy", folder)
        assert [[one is not None for one in camera] for camera in tracks] == [
            [True, False, True],
            [False, False],
        ]
        for one, expected in ((tracks[0][0], frames["cam_0"][0]), (tracks[0][2], found(2))):
            assert one is not None and expected is not None
            for name in ("points", "depth", "visibility", "presence", "world", "peak"):
                np.testing.assert_array_equal(getattr(one, name), getattr(expected, name))
            assert (one.score, one.network) == (expected.score, expected.network)
            assert (one.roi.size, one.roi.rotation) == (expected.roi.size, expected.roi.rotation)
            np.testing.assert_array_equal(one.roi.center, expected.roi.center)
    assert sought == ["cam_0", "cam_1"]
    tracked(recording, "heavy", None)
    assert len(sought) == 4
    recording.cameras[0].video.write_bytes(b"another video")
    tracked(recording, "heavy", folder)
    assert len(sought) == 6


def test_a_damaged_file_is_named(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "two_full.npz").write_bytes(b"nothing")
    with pytest.raises(PenumbraError, match=r"folders: .*two_full.npz .* delete it\."):
        tracked(recording, "full", tmp_path)


def test_a_missing_video_is_named(recording: Recording, tmp_path: Path) -> None:
    recording.cameras[1].video.unlink()
    with pytest.raises(PenumbraError, match=r"folders: cannot read .*cam_1.mp4"):
        tracked(recording, "full", tmp_path)
