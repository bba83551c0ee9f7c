"""Calibrate a camera from images of a flat chessboard that somebody moves in front of it.

    python -m calib.board PHOTOS --out camera.json
    python -m calib.board board.mp4 --corners 9 6 --out camera.json

The camera file is what `run_demo.py --calib` reads. Focal length, principal point and lens
distortion (k1, k2, p1, p2, k3) are OpenCV's, after Z. Zhang, A flexible new technique for camera
calibration (2000): the squares' size does not matter for them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tyro
from jaxtyping import Float, UInt8

from calib.camera import load_intrinsics
from engines.command import start
from engines.errors import PenumbraError, check_at_least
from engines.outputs import open_output
from engines.printable import printable

MIN_BOARDS = 6
"""Images with the whole board below which nothing is calibrated."""
USUAL_EVERY = 10
"""Frames from one image to the next in a video that does not say how many it has."""
OUTLIER = 3.0
"""Images whose RMS error is this many times the median are left out: they are blurred."""
MAX_RMS_PX = 2.0
"""RMS error, px, above which no board was seen as it is."""
ENOUGH_COVERED = 0.7
"""Share of the width and of the height that corners should reach over."""
_ADVICE = "use a flat, rigid board, and one camera at one zoom."


@dataclass(frozen=True)
class BoardConfig:
    """What the board looks like, and where its images are."""

    source: tyro.conf.Positional[Path]
    """A video, or a folder of images (at the size and zoom that Penumbra will get)."""
    out: Path
    """The camera file to write (`.json`)."""
    corners: tuple[int, int] = (9, 6)
    """Inner corners in a row and in a column: one less than squares."""
    max_images: int = 40
    """Images of a video that are looked at, evenly spread over it."""
    force: bool = False
    """Replace `out`."""


@dataclass(frozen=True)
class BoardImages:
    """The corners of a board in N images of one size."""

    size: tuple[int, int]
    """Width and height, px."""
    corners: Float[np.ndarray, "N c 2"]
    """Px, counted from the centre of the first pixel."""
    without: list[str]
    """Images that do not show the whole board, or have another size."""


@dataclass(frozen=True)
class BoardCalibration:
    """What images of a board say about the camera."""

    size: tuple[int, int]
    matrix: Float[np.ndarray, "3 3"]
    """OpenCV's camera matrix, px."""
    dist: Float[np.ndarray, "5"]
    focal_std: float
    """Standard deviation of the focal length, px."""
    rms: float
    """Distance of the corners from where the camera should see them, px, root mean square."""
    images: int
    """That were used."""
    covered: tuple[float, float]
    """Share of the width and of the height that the corners reach over."""

    def to_json(self) -> str:
        """Return the camera file."""
        return json.dumps(
            {"matrix": self.matrix.tolist(), "size": self.size, "dist": self.dist.tolist()}
        )


def main(config: BoardConfig) -> None:
    """Write the camera file, and say how good it is.

    Raises:
        PenumbraError: there are too few images of the whole board, or no camera fits them.
    """
    if min(config.corners) < 3:
        raise PenumbraError(
            f"corners: must be at least 3 each way, not {config.corners}; count the inner corners."
        )
    check_at_least(MIN_BOARDS, config, "max_images")
    with open_output(config.out, "out", ".json", force=config.force) as output:
        found = find_boards(_images(config), config.corners)
        if len(found.corners) < MIN_BOARDS:
            raise PenumbraError(
                f"source: {len(found.corners)} images of {config.source} show the whole board of "
                f"{config.corners[0]}x{config.corners[1]} inner corners, {MIN_BOARDS} are needed; "
                "check `corners`, and hold the board flat, whole and still in more places."
            )
        camera = calibrate(found, config.corners)
        output.write(f"{camera.to_json()}\n".encode())
        load_intrinsics(output.scratch, camera.size)  # what cannot be read back is not kept
        output.commit()
    print(_report(camera, found))


def find_boards(
    images: Iterator[tuple[str, UInt8[np.ndarray, "h w"]]], corners: tuple[int, int]
) -> BoardImages:
    """Find the corners of a board in grey images of the size that most of its images have."""
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    found: dict[tuple[int, int], list[tuple[str, np.ndarray]]] = {}
    without = []
    for name, image in images:
        there, points = cv2.findChessboardCornersSB(image, corners, flags=flags)
        if there and points is not None:
            size = (image.shape[1], image.shape[0])
            found.setdefault(size, []).append((name, points.reshape(-1, 2).astype(np.float64)))
        else:
            without.append(name)
    size = max(found, key=lambda one: len(found[one]), default=(0, 0))
    without += [name for other in found if other != size for name, _ in found[other]]
    boards = [points for _, points in found.get(size, [])]
    shape = (len(boards), corners[0] * corners[1], 2)
    return BoardImages(size, np.array(boards).reshape(shape), without)


def calibrate(found: BoardImages, corners: tuple[int, int]) -> BoardCalibration:
    """Estimate the camera; images that fit it far worse than the others are left out.

    Raises:
        PenumbraError: no camera fits the corners.
    """
    try:
        errors = _fit(found.size, found.corners, corners).errors
        kept = found.corners[errors <= OUTLIER * np.median(errors)]
        if len(kept) < MIN_BOARDS:
            raise PenumbraError(
                f"source: only {len(kept)} of {len(errors)} images of the board agree on a camera, "
                f"fewer than {MIN_BOARDS}; {_ADVICE}"
            )
        best = _fit(found.size, kept, corners)
    except cv2.error as error:
        raise PenumbraError(f"source: no camera fits the board ({error.err}); {_ADVICE}") from error
    if not best.rms <= MAX_RMS_PX:
        raise PenumbraError(
            f"source: the board's corners are {best.rms:.1f} px from where a camera would see "
            f"them; {_ADVICE}"
        )
    wide, high = np.ptp(kept.reshape(-1, 2), axis=0) / found.size
    return BoardCalibration(
        found.size,
        best.matrix,
        best.dist,
        focal_std=float(np.sqrt(np.mean(best.std[:2] ** 2))),
        rms=best.rms,
        images=len(kept),
        covered=(float(wide), float(high)),
    )


class _Fit(NamedTuple):
    rms: float
    matrix: Float[np.ndarray, "3 3"]
    dist: Float[np.ndarray, "5"]
    std: Float[np.ndarray, "n"]
    """Standard deviations of fx, fy, cx, cy and the distortion."""
    errors: Float[np.ndarray, "N"]
    """RMS error of each image, px."""


def _fit(
    size: tuple[int, int], points: Float[np.ndarray, "N c 2"], corners: tuple[int, int]
) -> _Fit:
    board = np.zeros((corners[0] * corners[1], 3), np.float32)
    board[:, :2] = np.mgrid[: corners[0], : corners[1]].T.reshape(-1, 2)
    views = [np.asarray(view, np.float32) for view in points]
    none = np.zeros(0)
    rms, matrix, dist, _, _, std, _, errors = cv2.calibrateCameraExtended(
        [board] * len(views), views, size, np.eye(3), none
    )
    return _Fit(float(rms), matrix, dist.reshape(-1)[:5], std.reshape(-1), errors.reshape(-1))


def _images(config: BoardConfig) -> Iterator[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """Yield the names of the images and the images, grey.

    Raises:
        PenumbraError: the source is missing, or none of it can be read.
    """
    if config.source.is_dir():
        paths = [path for path in sorted(config.source.iterdir()) if path.is_file()]
        images = ((path.name, _read(path)) for path in paths)
        readable = ((name, image) for name, image in images if image is not None)
    else:
        readable = _frames(config.source, config.max_images)
    first = next(readable, None)
    if first is None:
        raise PenumbraError(
            f"source: {config.source} holds no image that can be read; give a video or a folder of "
            "images."
        )
    yield first
    yield from readable


def _read(path: Path) -> UInt8[np.ndarray, "h w"] | None:
    """Read an image, upright as its EXIF data says; None where it is none."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None


def _frames(video: Path, count: int) -> Iterator[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """Yield at most `count` frames of a video, evenly spread over it."""
    capture = cv2.VideoCapture(str(video)) if video.is_file() else cv2.VideoCapture()
    try:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        wanted = np.arange(count) * (frames / count if frames > 0 else USUAL_EVERY)
        chosen = set(wanted.astype(int).tolist())
        for i in range(max(chosen) + 1):
            grabbed, image = capture.read()
            if not grabbed:
                return
            if i in chosen:
                yield f"frame {i}", cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    finally:
        capture.release()


def _report(camera: BoardCalibration, found: BoardImages) -> str:
    """Say what was found, how sure it is, and what would make it better."""
    focal, size = camera.matrix[[0, 1], [0, 1]], np.array(camera.size)
    horizontal, vertical = np.degrees(2 * np.arctan(size / (2 * focal)))
    lines = [
        f"{camera.images} images, {camera.size[0]}x{camera.size[1]} px: focal length "
        f"{focal.mean():.1f} px (standard deviation {camera.focal_std:.1f}), field of view "
        f"{horizontal:.1f} x {vertical:.1f} degrees, corners within {camera.rms:.2f} px (RMS)."
    ]
    if found.without:
        shown = ", ".join(map(printable, found.without[:8]))
        more = len(found.without) - 8
        lines.append(
            "Without the whole board, or of another size: "
            + (f"{shown} and {more} more." if more > 0 else f"{shown}.")
        )
    if min(camera.covered) < ENOUGH_COVERED:
        wide, high = (round(100 * share) for share in camera.covered)
        lines.append(
            f"The corners reach over {wide} % of the width and {high} % of the height: hold the "
            "board near the edges of the image too, where distortion is largest."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    start(main, BoardConfig)
