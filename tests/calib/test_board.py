"""A camera from images of a chessboard: rendered by our own camera model, and real ones."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from jaxtyping import Float, UInt8

from calib.board import MIN_BOARDS, BoardConfig, BoardImages, calibrate, find_boards, main
from calib.camera import load_intrinsics
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.rotations import exp_so3
from tests.support.paths import SHARED

SIZE = (480, 360)
CORNERS = (7, 5)
CAMERA = Intrinsics(
    *(410.0, 404.0, 247.0, 171.0), size=SIZE, dist=(-0.2, 0.06, 0.001, -0.0008, 0.0), source="test"
)
SHARPER = 3
"""Rays along each side of a pixel."""


def directions(camera: Intrinsics, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 3"]:
    return np.insert(camera.rays(points), 2, 1.0, axis=1)


def rendering(
    camera: Intrinsics, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "h w"]:
    """Show a board of squares of 1 m, whose first inner corner is at t, through a camera."""
    width, height = camera.size
    columns = (np.arange(SHARPER * width) + 0.5) / SHARPER
    rows = (np.arange(SHARPER * height) + 0.5) / SHARPER
    x, y = np.meshgrid(columns, rows)
    rays = directions(camera, np.stack([x.ravel(), y.ravel()], -1))
    distance = (R[:, 2] @ t) / (rays @ R[:, 2])
    u, v = ((rays * distance[:, None] - t) @ R)[:, :2].T
    dark = (np.floor(u) + np.floor(v)) % 2 == 1
    board = (u > -1) & (u < CORNERS[0]) & (v > -1) & (v < CORNERS[1])
    grey = np.where(board & dark, 30.0, 225.0).reshape(height, SHARPER, width, SHARPER)
    return grey.mean((1, 3)).round().astype(np.uint8)


def views(count: int, seed: int = 0) -> list[UInt8[np.ndarray, "h w"]]:
    """Hold the board in several ways, so that all of it is seen."""
    rng = np.random.default_rng(seed)
    middle = np.array([(CORNERS[0] - 1) / 2, (CORNERS[1] - 1) / 2, 0.0])
    images = []
    for _ in range(count):
        R = exp_so3(rng.uniform(-0.5, 0.5, 3))
        place = np.array([*rng.uniform((-2.2, -1.4), (2.2, 1.4)), rng.uniform(9.0, 12.0)])
        images.append(rendering(CAMERA, R, place - R @ middle))
    return images


@pytest.fixture(scope="module")
def boards() -> list[UInt8[np.ndarray, "h w"]]:
    """Fourteen images."""
    return views(14)


def found_in(images: list[UInt8[np.ndarray, "h w"]]) -> BoardImages:
    return find_boards(iter([(str(i), image) for i, image in enumerate(images)]), CORNERS)


def test_the_camera_that_took_the_images_is_found(
    boards: list[UInt8[np.ndarray, "h w"]], tmp_path: Path
) -> None:
    camera = calibrate(found_in(boards), CORNERS)
    assert camera.rms < 0.1 and camera.images >= 10
    (tmp_path / "camera.json").write_text(camera.to_json())
    back = load_intrinsics(tmp_path / "camera.json", SIZE)
    pixels = np.random.default_rng(1).uniform((60, 45), (420, 315), (200, 2))
    apart = np.linalg.norm(np.cross(directions(back, pixels), directions(CAMERA, pixels)), axis=1)
    assert apart.max() < 2e-3, "a pixel shows the same direction, to 0.1 degrees"
    assert abs(back.fx - CAMERA.fx) < 4 * max(camera.focal_std, 0.3)


def test_images_that_fit_far_worse_are_left_out(boards: list[UInt8[np.ndarray, "h w"]]) -> None:
    found = found_in(boards)
    corners = found.corners.copy()
    corners[3] += np.random.default_rng(2).normal(0, 3.0, corners[3].shape)
    spoilt = calibrate(BoardImages(found.size, corners, []), CORNERS)
    assert spoilt.images == len(corners) - 1 and spoilt.rms < 0.1


def test_too_few_images_that_agree_are_refused(boards: list[UInt8[np.ndarray, "h w"]]) -> None:
    found = found_in(boards)
    corners = found.corners[:MIN_BOARDS].copy()
    corners[3] += np.random.default_rng(2).normal(0, 3.0, corners[3].shape)
    with pytest.raises(PenumbraError, match=f"source: only {MIN_BOARDS - 1} of {MIN_BOARDS} "):
        calibrate(BoardImages(found.size, corners, []), CORNERS)


def test_corners_that_no_camera_sees_are_refused() -> None:
    corners = np.random.default_rng(3).uniform(0, 300, (8, CORNERS[0] * CORNERS[1], 2))
    with pytest.raises(PenumbraError, match=r"source: .*flat, rigid board"):
        calibrate(BoardImages(SIZE, corners, []), CORNERS)


def test_the_command_reads_a_folder_and_names_what_it_left_out(
    boards: list[UInt8[np.ndarray, "h w"]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "camera.json"
    folder.mkdir()
    for i, image in enumerate(boards):
        assert cv2.imwrite(str(folder / f"{i:02d}.png"), image)
    cv2.imwrite(str(folder / "grey.png"), np.full_like(boards[0], 90))
    cv2.imwrite(str(folder / "0_large.png"), cv2.resize(boards[0], (600, 450)))  # comes first
    (folder / "notes.txt").write_text("no image")
    main(BoardConfig(folder, out, CORNERS))
    told = capsys.readouterr().out
    assert "grey.png" in told and "0_large.png" in told and "notes" not in told
    assert json.loads(out.read_text())["size"] == list(SIZE)
    with pytest.raises(PenumbraError, match="out: "):
        main(BoardConfig(folder, out, CORNERS))
    with pytest.raises(PenumbraError, match=r"source: 0 images .* 9x6 inner corners"):
        main(BoardConfig(folder, out, force=True))
    assert json.loads(out.read_text())["size"] == list(SIZE), "what was there is still there"


def test_the_command_reads_a_video(
    boards: list[UInt8[np.ndarray, "h w"]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "board.mkv"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"FFV1"), 10, SIZE)
    for image in boards:
        for _ in range(3):
            writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    writer.release()
    main(BoardConfig(video, tmp_path / "camera.json", CORNERS, max_images=14))
    intrinsics = load_intrinsics(tmp_path / "camera.json", SIZE)
    assert intrinsics.fx == pytest.approx(CAMERA.fx, rel=0.01)
    assert "focal length" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": Path("nobody.mp4")}, "source: nobody.mp4 holds no image"),
        ({"corners": (1, 6)}, "corners: must be at least 3"),
        ({"max_images": 2}, "max_images: must be at least 6"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"source": tmp_path, "out": tmp_path / "camera.json"}
    with pytest.raises(PenumbraError, match=message):
        main(BoardConfig(**arguments | change))  # type: ignore[arg-type]


def test_real_photos_give_one_lens() -> None:
    photos = SHARED / "data/boards/chessboard_9x6"
    if not photos.is_dir():
        pytest.skip("shared data is absent")
    images = [(p.name, cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)) for p in photos.glob("*.jpg")]
    whole = [(name, image) for name, image in images if image.shape == (720, 1280)]
    camera = calibrate(find_boards(iter(whole), (9, 6)), (9, 6))
    assert camera.matrix[0, 0] == pytest.approx(1157, rel=0.01)
    assert camera.matrix[:2, 2] == pytest.approx((671, 386), abs=8)
    assert camera.dist[0] == pytest.approx(-0.26, abs=0.05)
