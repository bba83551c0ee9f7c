"""Rolled cameras see what they would see, and the report measures angles."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from engines.blazepose.tracker import PoseTracker
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.gravity.direction import Direction, tangent_basis
from engines.gravity.network import GravityNetwork
from tests.support.rigs import ring
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.gravity_footage import GravityFootageConfig, Rolled, Run, main, report, run_camera

CAMERA = Intrinsics(620.0, 610.0, 330.0, 235.0, (640, 480), (-0.1, 0.02, 1e-3, -1e-3), "test")


@pytest.mark.parametrize("roll_deg", [0.0, 20.0, 90.0, -90.0, 180.0])
def test_a_rolled_image_shows_each_point_where_the_rolled_camera_sees_it(roll_deg: float) -> None:
    rolled = Rolled.of(CAMERA, roll_deg)
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.3, 0.3, (40, 2)), np.ones(40)]) * 2.5
    seen = rolled.intrinsics.project(points @ rolled.R_rolled_cam.T)
    whole = np.floor(seen).astype(int)  # the pixel that shows it; the maps have pixel centres
    assert ((whole >= 0) & (whole < rolled.intrinsics.size)).all()
    taken_from = np.column_stack([part[whole[:, 1], whole[:, 0]] for part in rolled.maps])
    away = np.linalg.norm(taken_from + 0.5 - CAMERA.project(points), axis=-1)
    assert away.max() < 0.75  # half a pixel by rounding, in both axes
    up = rolled.R_rolled_cam @ np.array([0.0, -1, 0])
    assert np.degrees(np.arctan2(-up[0], -up[1])) == pytest.approx(roll_deg % 360, abs=1e-6) or (
        np.degrees(np.arctan2(-up[0], -up[1])) == pytest.approx(roll_deg, abs=1e-6)
    )


def test_a_quarter_turn_moves_no_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    rolled = Rolled.of(Intrinsics(60.0, 60.0, 32.0, 24.0, (64, 48)), 90.0)
    np.testing.assert_array_equal(rolled(image), np.rot90(image))


def test_the_report_states_the_angle_to_the_truth_after_a_second() -> None:
    truth = np.array([0.0, -1, 0])

    def off(degrees: float) -> Direction:
        angle = np.radians(degrees)
        vector = np.array([np.sin(angle), -np.cos(angle), 0.0])
        B = tangent_basis(vector)
        return Direction(vector, np.radians(5) ** 2 * B @ B.T)

    fused = tuple((0.5 * i, off(error)) for i, error in enumerate((9, 8, 6, 4, 2)))
    runs = {"cam": Run((off(12), off(10), off(14)), fused, 0)}
    rows = report(runs, {"cam": truth}, 1.0)
    assert rows == {
        "cam": {
            "frames": 3,
            "moved": 0,
            "sigma_deg": 7.1,
            "fused_error_deg": 6.0,
            "single_error_deg": 12.0,
            "fused_error_later_deg": 4.0,
        }
    }


VECTOR = np.array([0.0, -1.0, 0.0])


class Everywhere(PoseTracker):
    """Finds somebody in every image."""

    def __init__(self) -> None: ...

    def reset(self) -> None: ...

    def __call__(self, image: Any) -> Any:
        return image


class Always(FrameEstimator):
    """Estimates the same of everybody."""

    def __init__(self) -> None: ...

    def __call__(self, landmarks: Any, intrinsics: Any, quarters: int = 0) -> Any:
        parts = {name: np.zeros(3) for name in ("joints", "cov", "joint_visible")}
        return SimpleNamespace(hypotheses=SimpleNamespace(rotvec=np.zeros((1, 24, 3))), **parts)


class Upright(GravityNetwork):
    """Takes everybody to stand upright before the camera."""

    def __init__(self) -> None: ...

    def direction(
        self, R_cam_root: Any, joints: Any, joint_cov: Any, joint_visible: Any
    ) -> Direction:
        B = tangent_basis(VECTOR)
        return Direction(VECTOR, 0.01 * B @ B.T)


@pytest.mark.parametrize(("fps", "seconds"), [(None, 0.2), (50.0, 0.1)])
def test_time_passes_as_the_video_says(tmp_path: Path, fps: float | None, seconds: float) -> None:
    camera = replace(ring()[0], video=tmp_path / "walk.mp4")
    size = camera.intrinsics.size
    writer = cv2.VideoWriter(str(camera.video), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    for _ in range(6):
        writer.write(np.zeros((size[1], size[0], 3), np.uint8))
    writer.release()
    rolled, config = Rolled.of(camera.intrinsics, 0.0), GravityFootageConfig((), every=5, fps=fps)
    run = run_camera(camera, rolled, Everywhere(), Always(), Upright(), config)
    assert [t for t, _ in run.fused] == pytest.approx([0.0, seconds])


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(PenumbraError, match="every: must be at least 1"):
        main(GravityFootageConfig((), every=0))
    with pytest.raises(PenumbraError, match="fps: must be more than 0"):
        main(GravityFootageConfig((), fps=0.0))
