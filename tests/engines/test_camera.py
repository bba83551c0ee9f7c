"""The camera against OpenCV; a sentence for each calibration that cannot be used."""

import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.camera import load_intrinsics, load_T_world_cam
from engines import camera
from engines.errors import PenumbraError
from engines.rotations import exp_so3
from tests.support.paths import ROOT

SIZE = (1280, 720)
LENSES = {
    "no lens": (),
    "barrel": (-0.28, 0.09, 1e-3, -5e-4, 0.0),
    "pincushion": (0.1, -0.05, -2e-4, 3e-4, 0.01),
    "rational": (0.1, -0.05, -2e-4, 3e-4, 0.01, 0.05, -0.02, 0.004),
}

NO_INVERSE = (-0.33, 0.12, 1e-3, 0.0, -0.02)


def intrinsics(lens: str) -> camera.Intrinsics:
    return camera.Intrinsics(900.0, 910.0, 655.0, 340.0, SIZE, LENSES[lens])


def points_cam(count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    z = rng.uniform(0.5, 8.0, count)
    return np.column_stack(
        [rng.uniform(-0.6, 0.6, count) * z, rng.uniform(-0.35, 0.35, count) * z, z]
    )


@pytest.mark.parametrize("lens", LENSES)
def test_project_matches_opencv(lens: str) -> None:
    K, points = intrinsics(lens), points_cam()
    dist = np.array(K.dist) if K.dist else None
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K.opencv_matrix, dist)[0][:, 0]
    # OpenCV counts from the centre of the first pixel.
    np.testing.assert_allclose(K.project(points), expected + 0.5, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_rays_undo_project(lens: str) -> None:
    points = points_cam()
    rays = intrinsics(lens).rays(intrinsics(lens).project(points))
    np.testing.assert_allclose(rays, points[:, :2] / points[:, 2:], atol=1e-6)
    if not LENSES[lens]:
        np.testing.assert_allclose(rays, points[:, :2] / points[:, 2:], atol=1e-12)


def whole_image() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, SIZE[0], 33), np.linspace(0, SIZE[1], 19))
    return np.column_stack([x.ravel(), y.ravel()])


def test_rays_of_a_wide_lens_are_exact_up_to_the_corners() -> None:
    wide = (8.9, 6.2, 0.0001, 0.0, 0.35, 9.25, 9.4, 1.9)  # five steps miss by 50 px
    K = camera.Intrinsics(565.0, 565.0, 640.0, 360.0, SIZE, wide)
    rays = K.rays(whole_image())
    points = np.column_stack([rays, np.ones(len(rays))])
    np.testing.assert_allclose(K.project(points), whole_image(), atol=1e-3)


def test_where_a_lens_has_no_inverse_more_steps_do_not_lead_away() -> None:
    K = camera.Intrinsics(450.0, 450.0, 640.0, 360.0, SIZE, NO_INVERSE)
    dist, points = np.array(K.dist), whole_image()

    def missed(rays: np.ndarray) -> np.ndarray:
        rays, still = np.column_stack([rays, np.ones(len(rays))]), np.zeros(3)
        at = cv2.projectPoints(rays, still, still, K.matrix, dist)[0][:, 0]
        return np.linalg.norm(at - points, axis=1)

    five = missed(cv2.undistortPoints(points[:, None], K.matrix, dist)[:, 0])
    assert five.max() > 10
    assert (missed(K.rays(points)) <= five + 1e-3).all()


@pytest.mark.parametrize("lens", LENSES)
def test_no_points_are_no_points(lens: str) -> None:
    K = intrinsics(lens)
    assert K.rays(np.zeros((0, 2))).shape == K.project(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("dist", [(-0.2, 0.0, 0.0, 0.0), NO_INVERSE, (0, 0, 0, 0, 0, -0.1, 0, 0)])
def test_what_is_far_outside_does_not_come_back_into_the_image(dist: tuple[float, ...]) -> None:
    K = camera.Intrinsics(600.0, 600.0, 640.0, 360.0, SIZE, dist)
    down = np.column_stack([np.zeros(60), np.linspace(0, 6, 60), np.full(60, 2 / 3)])
    v = K.project(down)[:, 1]
    assert np.diff(v).min() > -1e-5 and v[-1] > SIZE[1]


def test_field_of_view_spans_the_longer_side() -> None:
    for size in ((640, 480), (480, 640)):
        K = camera.from_fov(size, 70.0)
        edge = (K.rays(np.array([[0.0, 0.0], size])) * (size[0] >= size[1], size[1] > size[0])).sum(
            1
        )
        assert np.degrees(np.arctan(edge)).tolist() == pytest.approx([-35.0, 35.0])
        assert not K.calibrated
        np.testing.assert_allclose(K.rays(np.array([[size[0] / 2, size[1] / 2]])), 0)


def test_focal_length_is_taken_as_given() -> None:
    K = camera.from_focal(SIZE, 812.5)
    assert (K.fx, K.fy, K.cx, K.cy, K.calibrated) == (812.5, 812.5, 640.0, 360.0, True)


@pytest.mark.parametrize("focal", [0.0, -5.0, 1e-300, 1e300, math.inf, math.nan])
def test_impossible_focal_length_is_refused(focal: float) -> None:
    with pytest.raises(PenumbraError, match=r"^focal: must be from 64 to 1\.28e\+06 pixels"):
        camera.from_focal(SIZE, focal)


def calibration(folder: Path, **changes: object) -> Path:
    data = {
        "matrix": [[900.0, 0, 655.0], [0, 910.0, 340.0], [0, 0, 1]],
        "size": list(SIZE),
        "dist": [0.1, 0, 0, 0, 0],
    }
    path = folder / "cam.json"
    path.write_text(
        json.dumps({key: value for key, value in (data | changes).items() if value is not None})
    )
    return path


def test_calibration_scales_with_the_image(tmp_path: Path) -> None:
    path = calibration(tmp_path)
    same, half = load_intrinsics(path, SIZE), load_intrinsics(path, (640, 360))
    assert (same.fx, same.fy, same.cx, same.cy) == (900.0, 910.0, 655.5, 340.5)
    assert same.source == "cam.json" and same.calibrated and same.size == SIZE
    np.testing.assert_allclose(half.project(points_cam()), same.project(points_cam()) / 2)


def dots(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image with a soft dot about each point; whole numbers are centres of pixels."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    image = np.zeros((size[1], size[0]), np.float32)
    for at in points:
        image += np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 4.0**2))
    return image


def centres(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Centres of gravity of dots, px from the corner of the image: pixel 0 spans from 0 to 1."""
    found = []
    for x, y in near.astype(int):
        part = image[y - 20 : y + 21, x - 20 : x + 21].astype(float)
        rows, columns = part.sum(1), part.sum(0)
        steps = np.arange(41) + 0.5
        found.append((x - 20 + columns @ steps / part.sum(), y - 20 + rows @ steps / part.sum()))
    return np.array(found)


@pytest.mark.parametrize("lens", LENSES)
def test_a_calibration_of_opencv_fits_what_opencv_makes_of_images(
    tmp_path: Path, lens: str
) -> None:
    dist, still = np.array(LENSES[lens] or (0.0,) * 4), np.zeros(3)
    path = calibration(tmp_path, dist=list(LENSES[lens]))
    K = np.array(json.loads(path.read_text())["matrix"])
    points = np.array([(x, y, 2.0) for x in (-0.9, -0.2, 0.6) for y in (-0.5, 0.1, 0.5)])
    at = cv2.projectPoints(points, still, still, K, dist)[0][:, 0]
    image = dots(at, SIZE)
    whole, half = load_intrinsics(path, SIZE), load_intrinsics(path, (640, 360))
    np.testing.assert_allclose(centres(image, at), whole.project(points), atol=0.01)
    small = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(centres(small, at / 2), half.project(points), atol=0.01)
    straight = cv2.undistort(image, K, dist)
    pinhole = camera.from_opencv(K, SIZE, (), "test")
    near = pinhole.project(points)
    np.testing.assert_allclose(centres(straight, near), near, atol=0.05)  # the lens bends dots


def test_a_calibration_may_say_where_the_camera_stands(tmp_path: Path) -> None:
    assert load_T_world_cam(calibration(tmp_path)) is None
    T = np.eye(4)
    T[:3, :3] = exp_so3(np.array([-1.7, 0.2, 0.1]))
    T[:3, 3] = 0.5, -2, 1.4
    path = calibration(tmp_path, T_world_cam=T.tolist())
    np.testing.assert_array_equal(load_T_world_cam(path), T)
    assert load_intrinsics(path, SIZE).fx == 900.0


@pytest.mark.parametrize(
    "wrong",
    [
        "up",
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        np.diag([1.0, 1, -1, 1]).tolist(),
        np.diag([2.0, 2, 2, 1]).tolist(),
        np.diag([1.0, 1, 1, 2]).tolist(),
        [[1, 0, 0, float("nan")], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 1e9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    ],
)
def test_what_is_no_pose_of_a_camera_is_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(PenumbraError, match="'T_world_cam' is no"):
        load_T_world_cam(calibration(tmp_path, T_world_cam=wrong))


def test_the_calibration_in_the_readme_is_read(tmp_path: Path) -> None:
    readme = (ROOT / "calib" / "README.md").read_text()
    (tmp_path / "cam.json").write_text(readme.split("```json")[1].split("```")[0])
    assert load_intrinsics(tmp_path / "cam.json", SIZE).dist == (-0.28, 0.09, 0.001, -0.0005, 0)


def test_calibration_without_distortion_is_a_pinhole(tmp_path: Path) -> None:
    assert load_intrinsics(calibration(tmp_path, dist=None), SIZE).dist == ()


@pytest.mark.parametrize(
    ("changes", "size", "sentence"),
    [
        ({"matrix": None}, SIZE, "is not a calibration; give JSON"),
        ({"matrix": [[1, 2], [3, 4]]}, SIZE, "is not a calibration; give JSON"),
        ({"size": None}, SIZE, "is not a calibration; give JSON"),
        ({"size": [1280]}, SIZE, "is not a calibration; give JSON"),
        ({"size": [0, 0]}, SIZE, "'size' must be"),
        ({"size": [math.inf, 720]}, SIZE, "is not a calibration; give JSON"),
        ({"dist": "none"}, SIZE, "is not a calibration; give JSON"),
        ({"dist": [0.1, 0.2]}, SIZE, "'dist' must be"),
        ({"dist": [0.1, 0.2, 0, 0, math.nan]}, SIZE, "'dist' must be"),
        (
            {"matrix": [[-900.0, 0, 655.0], [0, 910.0, 340.0], [0, 0, 1]]},
            SIZE,
            "focal lengths of -900 and 910 px are impossible",
        ),
        (
            {"matrix": [[math.nan, 0, 655.0], [0, 910.0, 340.0], [0, 0, 1]]},
            SIZE,
            "'matrix' holds numbers that are not finite",
        ),
        (
            {"matrix": [[900.0, 0, 0], [0, 910.0, 0], [655.0, 340.0, 1]]},
            SIZE,
            r"'matrix' is not \[\[fx, 0, cx\], .* transposed",
        ),
        (
            {"matrix": [[900.0, 3.0, 655.0], [0, 910.0, 340.0], [0, 0, 1]]},
            SIZE,
            r"'matrix' is not .* 1\]\]; give JSON",
        ),
        (
            {"matrix": [[900.0, 0, 655.0], [0, 910.0, 340.0], [0, 0, 2]]},
            SIZE,
            r"'matrix' is not .* 1\]\]; give JSON",
        ),
        (
            {"matrix": [[900.0, 0, 99999], [0, 910.0, 340.0], [0, 0, 1]]},
            SIZE,
            r"point \(99999, 340\) .* lies outside",
        ),
        (
            {"matrix": [[900.0, 0, 655.0], [0, 910.0, 0], [0, 0, 1]]},
            SIZE,
            r"point \(655, 0\) .* lies outside",
        ),
        ({"dist": [1e308, 0, 0, 0, 0]}, SIZE, "'dist' must be"),
        ({"dist": [9e3, 9e3, 9e3, 9e3, 9e3]}, SIZE, "'dist' cannot be removed"),
        (
            {"matrix": [[1e-300, 0, 655.0], [0, 910.0, 340.0], [0, 0, 1]]},
            SIZE,
            "focal lengths of 1e-300 and 910 px are impossible",
        ),
        ({"size": [2**17, 720]}, SIZE, "'size' must be"),
        ({"size": [1e300, 720]}, SIZE, "'size' must be"),
        ({"matrix": "\x1b[2J"}, SIZE, "is not a calibration; give JSON"),
        ({}, (640, 480), r"made for 1280x720 px, the image has 640x480"),
    ],
)
def test_unusable_calibration_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], size: tuple[int, int], sentence: str
) -> None:
    with pytest.raises(PenumbraError, match=sentence) as caught:
        load_intrinsics(calibration(tmp_path, **changes), size)
    assert str(caught.value).startswith(f"calib {tmp_path}")


def test_principal_point_need_not_be_in_the_middle(tmp_path: Path) -> None:
    matrix = [[900.0, 0, 12.5], [1e-12, 910.0, 715.0], [0, 0, 1]]
    K = load_intrinsics(calibration(tmp_path, matrix=matrix, dist=LENSES["rational"]), SIZE)
    assert (K.cx, K.cy, K.dist) == (13.0, 715.5, LENSES["rational"])


@pytest.mark.parametrize("content", ["", "not json", "[1, 2]", "3"])
def test_file_that_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cam.json").write_text(content)
    with pytest.raises(PenumbraError, match="is not a calibration"):
        load_intrinsics(tmp_path / "cam.json", SIZE)


def test_missing_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"calib .*absent\.json: No such file"):
        load_intrinsics(tmp_path / "absent.json", SIZE)


def test_deep_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cam.json").write_text("[" * 500_000)
    with pytest.raises(PenumbraError, match="is not a calibration"):
        load_intrinsics(tmp_path / "cam.json", SIZE)
    calibration(tmp_path, matrix="deep")
    deep = (tmp_path / "cam.json").read_text().replace('"deep"', "[" * 900 + "]" * 900)
    (tmp_path / "cam.json").write_text(deep)
    with pytest.raises(PenumbraError, match="is not a calibration"):
        load_intrinsics(tmp_path / "cam.json", SIZE)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "cam.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PenumbraError, match="larger than 1048576 bytes"):
        load_intrinsics(tmp_path / "cam.json", SIZE)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(PenumbraError, match=r"regular file|directory"):
            load_intrinsics(path, SIZE)
