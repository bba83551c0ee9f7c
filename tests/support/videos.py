"""Small videos whose frames carry their number, and ways to read them."""

import struct
from pathlib import Path

import cv2
import numpy as np

from engines.errors import PenumbraError
from realtime.capture.frame import Frame
from realtime.capture.sources import Source

SIZE = (160, 96)
BITS = 10


def numbered_image(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """`number` in black and white blocks, which survive any compression."""
    bits = [255 * (number >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8), size[0] // BITS)
    return np.repeat(np.tile(row, (size[1], 1))[:, :, None], 3, axis=2)


def number_in(image: np.ndarray) -> int:
    """The number that `numbered_image` drew."""
    blocks = image[image.shape[0] // 2, :, 1].reshape(BITS, -1).mean(axis=1)
    return sum(1 << bit for bit, level in enumerate(blocks) if level > 127)


def jpeg(number: int, size: tuple[int, int] = SIZE) -> bytes:
    return cv2.imencode(".jpg", numbered_image(number, size))[1].tobytes()


def write_video(path: Path, count: int = 40, fps: float = 25.0, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, SIZE)
    assert writer.isOpened()
    for i in range(count):
        writer.write(numbered_image(i))
    writer.release()
    return path


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for i, name in enumerate(names):
        data = cv2.imencode(Path(name).suffix, numbered_image(i))[1]
        (folder / name).write_bytes(data.tobytes())
    return folder


def boxes(data: bytes) -> dict[bytes, bytes]:
    """Top-level boxes of an MP4 file, those of one kind joined."""
    found: dict[bytes, bytes] = {}
    offset = 0
    while offset < len(data):
        size, kind = struct.unpack(">I4s", data[offset : offset + 8])
        found[kind] = found.get(kind, b"") + data[offset : offset + size]
        offset += size
    return found


def with_index_first(data: bytes) -> bytes:
    """The same MP4 with `moov` before `mdat`, as web servers want it: it survives a lost end."""
    parts = boxes(data)
    moov = bytearray(parts[b"moov"])
    at = moov.find(b"stco") + 8
    for i in range(struct.unpack(">I", moov[at : at + 4])[0]):
        where = at + 4 + 4 * i
        (offset,) = struct.unpack(">I", moov[where : where + 4])
        moov[where : where + 4] = struct.pack(">I", offset + len(moov))
    return b"".join([parts[b"ftyp"], parts.get(b"free", b""), bytes(moov), parts[b"mdat"]])


def with_variable_rate(data: bytes, counts: tuple[int, ...], ticks: tuple[int, ...]) -> bytes:
    """The same MP4, whose samples last `ticks` times the first duration, `counts` of each."""
    at = data.find(b"stts") - 4
    assert struct.unpack(">I4s3I", data[at : at + 20])[3] == 1, "a fixed rate"
    duration = struct.unpack(">I", data[at + 20 : at + 24])[0]
    entries = [(count, duration * tick) for count, tick in zip(counts, ticks, strict=True)]
    table = struct.pack(">4s2I", b"stts", 0, len(entries))
    table += b"".join(struct.pack(">2I", *entry) for entry in entries)
    changed = bytearray(data[:at] + struct.pack(">I", len(table) + 4) + table + data[at + 24 :])
    edit = changed.find(b"elst") + 12  # which displays no more than the duration of before
    if edit > 12:
        changed[edit : edit + 4] = struct.pack(">I", 1 << 30)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):  # those around it have grown
        start = changed.find(box) - 4
        (size,) = struct.unpack(">I", changed[start : start + 4])
        changed[start : start + 4] = struct.pack(">I", size + len(changed) - len(data))
    return bytes(changed)


def time_stamps_ms(path: Path) -> list[float]:
    """When each image of a video is displayed, by its container."""
    capture, stamps_ms = cv2.VideoCapture(str(path)), []
    while capture.read()[0]:
        stamps_ms.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return stamps_ms


def read_all(source: Source) -> tuple[list[Frame], Exception | None]:
    """All frames, and the error that ended them."""
    got: list[Frame] = []
    try:
        with source:
            while (frame := source.read()) is not None:
                got.append(frame)
    except PenumbraError as error:
        return got, error
    return got, None
