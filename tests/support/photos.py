"""Photos with EXIF data, as cameras write them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image

ORIENTATIONS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: np.swapaxes(image, 0, 1),
    6: lambda image: np.rot90(image),
    7: lambda image: np.swapaxes(image[::-1, ::-1], 0, 1),
    8: lambda image: np.rot90(image, -1),
}
"""EXIF `Orientation` to how a camera held like that stores an upright image."""


def scene(width: int = 120, height: int = 80) -> np.ndarray:
    """A BGR image whose corners differ: red, green, blue, white, clockwise from top left."""
    image = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    image[:h, :w], image[:h, w:] = (0, 0, 255), (0, 255, 0)
    image[h:, w:], image[h:, :w] = (255, 0, 0), (255, 255, 255)
    return image


def write_photo(
    path: Path, image: np.ndarray, orientation: int = 1, tags: dict[int, Any] | None = None
) -> Path:
    """Write an upright BGR image as a camera with this orientation does.

    Args:
        path: `.jpg`, `.png`, `.webp`, ...
        image: upright.
        orientation: EXIF `Orientation`.
        tags: of the EXIF sub-directory, and `Make`.
    """
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    sub = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, value in (tags or {}).items():
        if tag == ExifTags.Base.Make:
            exif[tag] = value
        else:
            sub[tag] = value
    stored = np.ascontiguousarray(ORIENTATIONS[orientation](image))
    rgb = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    Image.fromarray(rgb).save(path, exif=exif, quality=95)
    return path


def phone(size: tuple[int, int], on_film_mm: int = 26) -> dict[int, Any]:
    """The tags of a phone's photo whose stored image has this size."""
    return {
        ExifTags.Base.Make: "Maker",
        ExifTags.Base.FocalLengthIn35mmFilm: on_film_mm,
        ExifTags.Base.ExifImageWidth: size[0],
        ExifTags.Base.ExifImageHeight: size[1],
    }
