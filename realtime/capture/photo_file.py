"""One photo: its pixels, upright, and what its file says about the camera.

    header = read_header(path)
    image = decode(path, header)

A focal length in the EXIF data is used if it can be trusted: the file must also say which image
size it belongs to, and that size must have the shape of this image, which a crop changes; and there
must have been no digital zoom. EXIF gives focal lengths in mm on 35 mm film, whose frame has the
same diagonal (CIPA DCG-001), or on the sensor together with the sensor's resolution.
"""

import importlib.util
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from engines.camera import plausible_focal
from engines.errors import PenumbraError

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif"),
)
HEIF_SUFFIXES = (".heic", ".heif")
"""What iPhones write; Pillow reads it with the help of pillow-heif."""
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF")
_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_MM_OF_UNIT = {2: 25.4, 3: 10.0, 4: 1.0}
"""`FocalPlaneResolutionUnit`: inch, centimetre, millimetre."""
_SAME_SHAPE = 0.01
"""Relative difference of aspect ratios up to which an image counts as not cropped."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF `Orientation` to what undoes it."""


@dataclass(frozen=True)
class PhotoHeader:
    """What a photo's file says before its pixels are decoded."""

    size: tuple[int, int]
    """(width, height) of the upright image, px."""
    orientation: int = 1
    """EXIF `Orientation`, 1 to 8."""
    by_camera: bool = False
    """Whether it names the make or model of a camera."""
    focal_px: float | None = None
    """Focal length in px of this image, if it can be trusted."""
    focal_source: str = "no focal length in its EXIF data"
    """Where the focal length comes from, or why there is none."""
    images: int = 1
    """How many images or pages the file holds; only its first one is decoded."""


def read_header(path: Path) -> PhotoHeader:
    """Read size, orientation and focal length of a photo.

    Raises:
        PenumbraError: It is not an image that can be read.
    """
    with _open(path) as image:
        size = image.size
        tags = _tags(image)
        images = _images(image)
    orientation = _whole(tags.get(ExifTags.Base.Orientation, 1))
    orientation = orientation if orientation in _UPRIGHT else 1
    upright = size if orientation < 5 else (size[1], size[0])
    by_camera = ExifTags.Base.Make in tags or ExifTags.Base.Model in tags
    return PhotoHeader(upright, orientation, by_camera, *_focal(tags, size), images)


def decode(path: Path, header: PhotoHeader) -> UInt8[np.ndarray, "H W 3"]:
    """Decode a photo to BGR, upright.

    Raises:
        PenumbraError: It is damaged or cannot be read.
    """
    with _open(path) as image:
        try:
            upright = _eight_bits(image).convert("RGB")
            if header.orientation != 1:
                upright = upright.transpose(_UPRIGHT[header.orientation])
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise _unreadable(path, error) from error
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips it, to white mostly."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def is_photo(path: Path) -> bool:
    """Whether a file is a photo, by its content; broken ones go by their name."""
    return path.suffix.lower() in PHOTO_SUFFIXES or cv2.haveImageReader(str(path))


def _open(path: Path) -> Image.Image:
    formats = _FORMATS
    if path.suffix.lower() in HEIF_SUFFIXES:
        _register_heif(path)
        formats = ("HEIF", *formats)
    try:
        with warnings.catch_warnings():  # Pillow warns of images that are large but not too large
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path, formats=formats)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _register_heif(path: Path) -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        raise PenumbraError(
            f"photo '{path}': is HEIC; pip install 'penumbra[heic]', or convert it to JPEG."
        )
    from pillow_heif import (  # pyright: ignore[reportMissingImports]
        register_heif_opener,
    )

    register_heif_opener()


def _unreadable(path: Path, error: Exception) -> PenumbraError:
    if isinstance(error, OSError) and error.strerror:
        return PenumbraError(
            f"photo '{path}': cannot be opened ({error.strerror}); make it readable."
        )
    if isinstance(error, Image.DecompressionBombError):
        return PenumbraError(f"photo '{path}': has too many pixels; make it smaller.")
    return PenumbraError(f"photo '{path}': cannot be decoded; repair or remove it.")


def _tags(image: Image.Image) -> dict[int, object]:
    """The EXIF data, flat; damaged ones count as missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = image.getexif()
            return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    except Exception:  # Pillow's parsers raise whatever damaged bytes lead to
        return {}


def _images(image: Image.Image) -> int:
    """How many images a file holds; what a phone adds to its JPEG (MPO) is no other image."""
    if image.format == "MPO":
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # as above: a page that is damaged
        return 1


def _focal(tags: dict[int, object], size: tuple[int, int]) -> tuple[float | None, str]:
    """Focal length in px of an image of `size`, and where it comes from or why there is none."""
    on_film_mm = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    on_sensor_mm = _number(tags.get(ExifTags.Base.FocalLength))
    per_unit = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    if not on_film_mm and not (on_sensor_mm and per_unit):
        return None, "no focal length in its EXIF data"
    width, height = (
        _whole(tags.get(tag))
        for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)
    )
    if min(width, height) < 1:
        return None, "its EXIF focal length does not say which image size it belongs to"
    aspect = max(size) / min(size) / (max(width, height) / min(width, height))
    if abs(aspect - 1.0) > _SAME_SHAPE:
        return None, f"its EXIF focal length is that of another image, {width}x{height} px: a crop"
    if _number(tags.get(ExifTags.Base.DigitalZoomRatio)) > 1.0:
        return None, "its EXIF focal length does not say whether it includes the digital zoom"
    if on_film_mm:
        focal = on_film_mm / _FILM_DIAGONAL_MM * math.hypot(*size)
        told = f"{on_film_mm:g} mm on 35 mm film, from EXIF"
    else:
        unit = _MM_OF_UNIT.get(_whole(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)), 25.4)
        focal = on_sensor_mm * per_unit / unit * max(size) / max(width, height)
        told = f"{on_sensor_mm:g} mm on its sensor, from EXIF"
    if not (0.4 < focal / max(size) < 40.0):  # 103 to 1.4 degrees
        return None, f"its EXIF focal length, {focal:.0f} px, is not plausible"
    assert plausible_focal(focal, size)
    return focal, told


def _number(value: object) -> float:
    """A finite number of a tag, 0 without one."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def _whole(value: object) -> int:
    return int(_number(value))
