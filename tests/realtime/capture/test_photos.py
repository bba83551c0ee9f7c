"""Photos: upright, each with its own size and camera, and told apart from a video's frames."""

import math
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from engines import camera
from engines.errors import PenumbraError
from realtime.capture.images import ImageFolder
from realtime.capture.photo_file import read_header
from realtime.capture.photos import PHOTOS_PER_S, Photos, why_photos
from realtime.capture.sources import images_in, open_video
from tests.support.photos import ORIENTATIONS, phone, scene, write_photo
from tests.support.videos import read_all, write_images

TAG = ExifTags.Base


def corners(image: np.ndarray) -> list[list[int]]:
    """The colours of the corners, clockwise from top left, as 0 and 1."""
    height, width = image.shape[:2]
    y, x = height // 6, width // 6
    places = ((y, x), (y, width - 1 - x), (height - 1 - y, width - 1 - x), (height - 1 - y, x))
    return [(image[place] > 127).astype(int).tolist() for place in places]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_a_photo_stands_upright_however_the_camera_was_held(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    path = write_photo(tmp_path / f"photo{kind}", scene(), orientation)
    (frame,), error = read_all(open_video(str(path)))
    assert error is None and frame.image.shape == (80, 120, 3)
    assert corners(frame.image) == corners(scene())
    assert frame.intrinsics is not None and frame.intrinsics.size == (120, 80)
    if kind == ".jpg":  # OpenCV's own reading of the same tag
        assert corners(cv2.imread(str(path))) == corners(scene())


@pytest.mark.parametrize("name", ["photo.bmp", "photo.tiff", "photo.mp4"])
def test_a_photo_is_known_by_its_content_too(tmp_path: Path, name: str) -> None:
    kind = ".jpg" if name.endswith("mp4") else Path(name).suffix
    write_photo(tmp_path / f"a{kind}", scene())
    (tmp_path / f"a{kind}").rename(tmp_path / name)
    source = open_video(str(tmp_path / name))
    assert isinstance(source, Photos) and (source.live, source.length) == (False, 1)
    (frame,), _ = read_all(source)
    assert corners(frame.image) == corners(scene())


@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_grey_of_16_bits_is_not_clipped(tmp_path: Path, kind: str) -> None:
    grey = np.tile(np.linspace(0, 65535, 120).astype(np.uint16), (80, 1))
    cv2.imwrite(str(tmp_path / f"heat{kind}"), grey)
    (frame,), _ = read_all(open_video(str(tmp_path / f"heat{kind}")))
    np.testing.assert_array_equal(frame.image, np.dstack([grey >> 8] * 3))


def test_a_focal_length_on_35_mm_film_is_one_of_the_same_diagonal(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", scene(1200, 900), tags=phone((4000, 3000), 26))
    (frame,), _ = read_all(open_video(str(path)))
    known = frame.intrinsics
    assert known is not None and known.source == "EXIF" and known.calibrated
    assert known.fx == known.fy == pytest.approx(26 * 1500 / math.hypot(36, 24))
    assert (known.cx, known.cy) == (600, 450)


def test_a_portrait_has_the_focal_length_of_the_landscape(tmp_path: Path) -> None:
    tags = phone((1200, 900))  # as stored, lying on its side
    path = write_photo(tmp_path / "a.jpg", scene(900, 1200), orientation=6, tags=tags)
    header = read_header(path)
    assert header.size == (900, 1200)
    assert header.focal_px == pytest.approx(26 * 1500 / math.hypot(36, 24))


def test_a_focal_length_on_the_sensor_needs_the_sensors_resolution(tmp_path: Path) -> None:
    tags = phone((4000, 3000))
    del tags[TAG.FocalLengthIn35mmFilm]
    tags |= {TAG.FocalLength: 50.0, TAG.FocalPlaneXResolution: 4000 / 22.3 * 25.4}
    path = write_photo(tmp_path / "a.jpg", scene(800, 600), tags=tags)
    assert read_header(path).focal_px == pytest.approx(50 / 22.3 * 800, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({TAG.ExifImageWidth: 3000}, "a crop"),
        ({TAG.ExifImageWidth: None}, "which image size"),
        ({TAG.DigitalZoomRatio: 2.0}, "digital zoom"),
        ({TAG.FocalLengthIn35mmFilm: 0}, "no focal length"),
        ({TAG.FocalLengthIn35mmFilm: 5000}, "not plausible"),
    ],
)
def test_a_focal_length_that_cannot_be_trusted_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[int, object], why: str
) -> None:
    tags = {
        tag: value for tag, value in (phone((4000, 3000)) | change).items() if value is not None
    }
    path = write_photo(tmp_path / "a.jpg", scene(1200, 900), tags=tags)
    with caplog.at_level("INFO"):
        (frame,), _ = read_all(open_video(str(path)))
    assert frame.intrinsics == camera.from_fov((1200, 900))
    assert why in caplog.text and "field of view of 63 degrees is assumed" in caplog.text


def test_damaged_exif_data_count_as_none(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", scene(), tags=phone((120, 80)))
    data = bytearray(path.read_bytes())
    at = data.find(b"Exif\0\0") + 10
    data[at : at + 40] = bytes(range(200, 240))
    path.write_bytes(data)
    assert read_header(path).focal_px is None
    (frame,), _ = read_all(open_video(str(path)))
    assert corners(frame.image) == corners(scene())


def test_where_the_focal_length_comes_from_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_photo(tmp_path / "anna.jpg", scene(), tags=phone((120, 80)))
    write_photo(tmp_path / "bert.jpg", scene(90, 90))
    with caplog.at_level("INFO"):
        open_video(str(tmp_path / "anna.jpg"))
        assert "26 mm on 35 mm film, from EXIF" in caplog.text
        open_video(str(tmp_path))
    assert "from EXIF for 1 photos; for 1 a field of view of 63 degrees" in caplog.text


@pytest.mark.parametrize("name", ["a.webp", "a.tiff", "a.png"])
def test_a_file_of_several_images_says_that_one_is_taken(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (Image.new("RGB", (60, 40), (c, 0, 0)) for c in (10, 120, 240))
    first.save(tmp_path / name, save_all=True, append_images=[second, third])
    frames, error = read_all(open_video(str(tmp_path / name)))
    assert error is None and len(frames) == 1
    assert "only the first of its 3 images is taken" in caplog.text


def test_what_a_phone_adds_to_a_photo_is_no_other_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo, depth = Image.new("RGB", (60, 40)), Image.new("RGB", (30, 20))
    photo.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[depth])
    frames, error = read_all(open_video(str(tmp_path / "photo.jpg")))
    assert error is None and len(frames) == 1 and "images" not in caplog.text


def test_photos_of_different_sizes_each_have_their_camera_and_their_shot(tmp_path: Path) -> None:
    for name, size in (("a1", (120, 80)), ("a2", (80, 120)), ("a3", (200, 200))):
        write_photo(tmp_path / f"{name}.png", scene(*size))
    source = open_video(str(tmp_path))
    assert isinstance(source, Photos) and source.length == 3
    frames, error = read_all(source)
    assert error is None
    cameras = [frame.intrinsics for frame in frames]
    assert cameras == [camera.from_fov(size) for size in ((120, 80), (80, 120), (200, 200))]
    assert [frame.image.shape[1::-1] for frame in frames] == [c.size for c in cameras if c]
    assert all(a.info.shot != b.info.shot for a, b in pairwise(frames))
    assert [frame.info.media_time_s for frame in frames] == [i / PHOTOS_PER_S for i in range(3)]


def test_a_broken_photo_between_good_ones_is_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("anna", "bert", "carl", "dora"):
        write_photo(tmp_path / f"{name}.jpg", scene(640, 480))
    whole = (tmp_path / "bert.jpg").read_bytes()
    (tmp_path / "bert.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "carl.jpg").write_bytes(b"no image")
    frames, error = read_all(open_video(str(tmp_path)))
    assert error is None
    assert [(f.info.frame_id, f.info.skipped) for f in frames] == [(0, 0), (3, 2)]
    assert "bert.jpg" in caplog.text and "carl.jpg" in caplog.text


def test_photos_that_are_all_broken_end_the_run(tmp_path: Path) -> None:
    for name in ("anna.jpg", "bert.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(PenumbraError, match="none of the 2 can be read"):
        open_video(str(tmp_path))
    with pytest.raises(PenumbraError, match=r"anna\.jpg': cannot be decoded; repair"):
        open_video(str(tmp_path / "anna.jpg"))


def test_heic_without_its_reader_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(PenumbraError, match=r"is HEIC; pip install 'penumbra\[heic\]'"):
        open_video(str(tmp_path / "IMG_1.HEIC"))


def test_the_frames_of_a_video_are_told_from_photos(tmp_path: Path) -> None:
    frames = write_images(tmp_path / "frames", ["frame_1.png", "frame_2.png", "frame_10.png"])
    assert why_photos(images_in(frames)) is None
    assert isinstance(open_video(str(frames)), ImageFolder)
    named = write_images(tmp_path / "named", ["anna.png", "bert.png"])
    assert why_photos(images_in(named)) == "their names are not numbered"
    (tmp_path / "sizes").mkdir()
    (tmp_path / "phone").mkdir()
    for i in range(2):
        write_photo(tmp_path / "sizes" / f"IMG_{i}.jpg", scene(120 + i, 80))
        write_photo(tmp_path / "phone" / f"IMG_{i}.jpg", scene(), tags=phone((120, 80)))
    assert why_photos(images_in(tmp_path / "sizes")) == "their sizes differ"
    assert "camera" in str(why_photos(images_in(tmp_path / "phone")))


def test_the_user_decides_what_a_folder_holds(tmp_path: Path) -> None:
    frames = write_images(tmp_path / "frames", ["frame_1.png", "frame_2.png"])
    assert isinstance(open_video(str(frames), photos=True), Photos)
    named = write_images(tmp_path / "named", ["anna.png", "bert.png"])
    assert isinstance(open_video(str(named), folder_fps=5.0), ImageFolder)
    slides = open_video(str(named), folder_fps=5.0, photos=True)
    assert isinstance(slides, Photos) and slides.fps == 5.0


def test_files_that_a_system_hides_are_no_photos(tmp_path: Path) -> None:
    write_photo(tmp_path / "anna.jpg", scene())
    shutil.copy(tmp_path / "anna.jpg", tmp_path / "._anna.jpg")
    assert [path.name for path in images_in(tmp_path)] == ["anna.jpg"]


def test_a_camera_rule_overrides_what_the_photos_say(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", scene(), tags=phone((120, 80)))
    asked: list[tuple[tuple[int, int], float | None]] = []

    def given(size: tuple[int, int], focal_px: float | None) -> camera.Intrinsics:
        asked.append((size, focal_px))
        return camera.from_focal(size, 333.0)

    (frame,), _ = read_all(open_video(str(path), camera_of=given))
    assert frame.intrinsics == camera.from_focal((120, 80), 333.0)
    assert len(asked) == 1 and asked[0][1] == pytest.approx(26 * 144.222 / 43.267, rel=1e-3)
