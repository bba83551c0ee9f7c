"""Recordings of several cameras, in both forms."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.rotations import log_so3
from engines.types import JOINT_NAMES
from tests.support.paths import SHARED
from tests.support.rigs import ring
from trainer.datasets.recordings import read_recording, read_recordings

MULTIVIEW = SHARED / "data" / "multiview"


def write_video(path: Path, size: tuple[int, int]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    writer.write(np.zeros((size[1], size[0], 3), np.uint8))
    writer.release()


def reference_arrays() -> dict[str, np.ndarray]:
    camera = ring()[1]
    return {
        "joints": np.array(["LShoulder", "RKnee"]),
        "cam02_xyz": np.ones((5, 2, 3), np.float32),
        "cam02_K": camera.intrinsics.opencv_matrix,
        "cam02_dist": np.array(camera.intrinsics.dist),
        "cam02_rvec": log_so3(camera.R),
        "cam02_t": camera.t,
    }


def test_a_recording_with_reference_is_read(tmp_path: Path) -> None:
    write_video(tmp_path / "cam02.mp4", (64, 48))
    np.savez(tmp_path / "reference.npz", **reference_arrays())
    recording = read_recording(tmp_path)
    assert recording.instants == ((0,), (1,), (2,), (3,), (4,))
    names = [JOINT_NAMES[joint] for joint in recording.reference_joints]
    assert names == ["left_shoulder", "right_knee"]
    (camera,) = recording.cameras
    expected = ring()[1]
    np.testing.assert_allclose(camera.R, expected.R, atol=1e-9)
    np.testing.assert_array_equal(camera.intrinsics.matrix, expected.intrinsics.matrix)
    assert camera.intrinsics.dist == expected.intrinsics.dist
    assert camera.intrinsics.size == (64, 48)
    assert recording.reference[0].shape == (5, 2, 3)


def test_a_reference_without_a_camera_matrix_or_video_is_refused(tmp_path: Path) -> None:
    arrays = reference_arrays()
    np.savez(tmp_path / "reference.npz", **arrays)
    with pytest.raises(PenumbraError, match=r"cannot read .*cam02\.mp4"):
        read_recording(tmp_path)
    write_video(tmp_path / "cam02.mp4", (64, 48))
    del arrays["cam02_dist"]
    np.savez(tmp_path / "reference.npz", **arrays)
    with pytest.raises(PenumbraError, match=r"reference\.npz: .*cam02_dist"):
        read_recording(tmp_path)


def test_a_folder_of_neither_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"no camera_array\.toml and no timestamps\.csv"):
        read_recording(tmp_path)


@pytest.mark.parametrize(
    ("cameras", "times"),
    [
        ("[[[", "cam_id,sync_index\n"),
        ("[other]\na = 1\n", "cam_id,sync_index\n"),
        ("cameras = 3\n", "cam_id,sync_index\n"),
        ("[cameras.0]\ncam_id = 0\nsize = [4]\n", "cam_id,sync_index\n"),
        ("[cameras]\n", "cam_id,sync_index\n0,soon\n"),
    ],
)
def test_broken_files_of_caliscope_are_refused(tmp_path: Path, cameras: str, times: str) -> None:
    (tmp_path / "camera_array.toml").write_text(cameras)
    (tmp_path / "timestamps.csv").write_text(times)
    with pytest.raises(PenumbraError, match="holds no recording of caliscope's"):
        read_recording(tmp_path)


def test_recordings_that_reports_could_not_tell_apart_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name / "walk"
        folder.mkdir(parents=True)
        write_video(folder / "cam02.mp4", (64, 48))
        np.savez(folder / "reference.npz", **reference_arrays())
    with pytest.raises(PenumbraError, match="folders: several are called walk"):
        read_recordings([tmp_path / "a" / "walk", tmp_path / "b" / "walk"])
    assert len(read_recordings([tmp_path / "a" / "walk"])) == 1
    with pytest.raises(PenumbraError, match="folders: there is none"):
        read_recordings([])


def test_a_caliscope_folder_is_read() -> None:
    folder = MULTIVIEW / "post_optimization"
    if not folder.is_dir():
        pytest.skip("the shared multi-view footage is not here")
    recording = read_recording(folder)
    assert len(recording.cameras) == 4 and not recording.reference
    assert len(recording.instants) > 20
    assert all(len(frames) == 4 for frames in recording.instants)
    for camera in recording.cameras:
        np.testing.assert_allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-6)


def test_the_shared_reference_projects_onto_its_image_points() -> None:
    folder = MULTIVIEW / "balancing"
    if not folder.is_dir():
        pytest.skip("the shared multi-view footage is not here")
    recording = read_recording(folder)
    sizes = [camera.intrinsics.size for camera in recording.cameras]
    assert sizes == [(1080, 1920), (1088, 1920)]
    assert len(recording.instants) == 100
    points = np.load(folder / "reference.npz")
    for camera, target in zip(recording.cameras, recording.reference, strict=True):
        projected = camera.intrinsics.project(target[50])
        miss = projected - (points[f"{camera.video.stem}_uv"][50] + 0.5)  # OpenCV's, as its K
        assert np.linalg.norm(miss, axis=1).max() < 0.01  # px
