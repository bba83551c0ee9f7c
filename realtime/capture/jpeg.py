"""Checks JPEG data before it is decoded, and cuts streams of JPEGs into images.

Decoders fill what is missing from a truncated JPEG with grey and say nothing, and allocate what a
header asks for before they have seen the data. So structure and size are read here first (ITU-T
T.81, annex B).
"""

import mmap
import re
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import UInt8

MAX_PIXELS = 1 << 27
"""No image has more pixels: 134 million, or 400 MB when decoded."""
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers
_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
# Stuffed bytes and restart markers belong to the scan, other markers end it.
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)

Bytes = bytes | mmap.mmap


class BrokenImage(ValueError):
    """The data is not a whole JPEG."""


def decode(data: Bytes) -> UInt8[np.ndarray, "H W 3"]:
    """Decode a whole JPEG to BGR.

    Raises:
        BrokenImage: It is truncated, damaged, or larger than `MAX_PIXELS`.
    """
    end, (width, height) = measure(data)
    if width * height > MAX_PIXELS:
        raise BrokenImage(f"has {width}x{height} px")
    image = cv2.imdecode(np.frombuffer(data, np.uint8, end), cv2.IMREAD_COLOR)
    if image is None:
        raise BrokenImage("cannot be decoded")
    return image


def measure(data: Bytes, start: int = 0) -> tuple[int, tuple[int, int]]:
    """Return where the JPEG that begins at `start` ends, and its (width, height) in px.

    Raises:
        BrokenImage: It does not begin there, or its structure breaks off.
    """
    if bytes(data[start : start + 2]) != bytes([0xFF, _START]):
        raise BrokenImage("does not begin as a JPEG")
    size, at = None, start + 2
    while True:
        while at < len(data) and data[at] == 0xFF and at + 1 < len(data) and data[at + 1] == 0xFF:
            at += 1  # fill bytes
        if at + 2 > len(data) or data[at] != 0xFF:
            raise BrokenImage("breaks off")
        marker = data[at + 1]
        at += 2
        if marker == _END:
            if size is None:
                raise BrokenImage("has no image")
            return at, size
        if marker in _BARE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker == _START or length < 2 or at + length > len(data):
            raise BrokenImage("breaks off")
        if marker in _FRAMES:
            height = int.from_bytes(data[at + 3 : at + 5], "big")
            size = int.from_bytes(data[at + 5 : at + 7], "big"), height
        at += length
        if marker == _SCAN:
            following = _AFTER_SCAN.search(data, at)
            if following is None:
                raise BrokenImage("breaks off")
            at = following.end() - 2


def split(data: Bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, whole) of each JPEG in a sequence of them."""
    begins = re.compile(rb"\xff\xd8\xff")
    found = begins.search(data)
    while found is not None:
        start = found.start()
        try:
            end, _ = measure(data, start)
            whole = True
        except BrokenImage:
            end, whole = start + 2, False
        following = begins.search(data, end)
        if not whole:
            end = len(data) if following is None else following.start()
        yield start, end, whole
        found = following
