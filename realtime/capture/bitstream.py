"""Reads the size of the images from the headers inside of compressed video.

    width, height = coded_size(b"MPG2", packet)

OpenCV keeps the size of the first image of a file: where a stream goes on in another one, it
delivers images of the old size that hold a part of the new one, and memory of others. Streams whose
packets repeat their headers tell of it: MPEG-1 and -2, MPEG-4 Visual, motion JPEG, VP8, VP9. Sizes
are those of the coded image, before it is cropped, so they compare only with one another.
"""

import struct
from pathlib import Path

import cv2

from realtime.capture import jpeg

AHEAD = 2
"""Packets that are read ahead of the frames: decoders may lose or reorder a few at a change."""
_MPEG = frozenset((b"mpg1", b"mpg2", b"pim1", b"pim2", b"mp1v", b"mp2v"))
_MPEG4 = frozenset((b"mp4v", b"fmp4", b"xvid", b"divx", b"dx50", b"m4s2"))
_WATCHED = _MPEG | _MPEG4 | {b"mjpg", b"vp80", b"vp90"}


def coded_size(codec: bytes, packet: bytes) -> tuple[int, int] | None:
    """Return (width, height) as a packet states it, px; None where it holds no such header.

    Args:
        codec: FOURCC of the stream.
        packet: Compressed data of one image.
    """
    codec = codec.lower()
    if codec in _MPEG:
        return _mpeg_size(packet)
    if codec in _MPEG4:
        return _mpeg4_size(packet)
    if codec == b"mjpg":
        try:
            return jpeg.measure(packet)[1]
        except jpeg.BrokenImage:
            return None
    if codec == b"vp80":
        return _vp8_size(packet)
    if codec == b"vp90":
        return _vp9_size(packet)
    return None


class SizeWatch:
    """Reads the packets of a local video along with its frames, and tells when their size changes.

    It is a second reader of the file, because OpenCV gives either frames or packets. Nothing
    is read of other codecs than those above.
    """

    def __init__(self, path: Path) -> None:
        self._packets = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self._codec = int(self._packets.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
        self._packets.set(cv2.CAP_PROP_FORMAT, -1)
        if self._codec.lower() not in _WATCHED:
            self.close()  # so there are no packets
        self._next = 0
        self._first: tuple[int, int] | None = None
        self._changed: tuple[int, int] | None = None

    def changed_by(self, frame: int) -> tuple[int, int] | None:
        """Return the new (width, height) when the size changes up to a frame, px; else None.

        Args:
            frame: Number of the frame; not less than in the call before.
        """
        while self._next <= frame + AHEAD and self._changed is None and self._packets.grab():
            size = coded_size(self._codec, self._packets.retrieve()[1].tobytes())
            self._first = self._first or size
            if size not in (None, self._first):
                self._changed = size
            self._next += 1
        return self._changed

    def close(self) -> None:
        """Free the file."""
        self._packets.release()


class _Bits:
    """Reads big-endian bit fields."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits; zeros behind the end."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else 0
        return shifted & ((1 << count) - 1)


def _mpeg_size(packet: bytes) -> tuple[int, int] | None:
    """ISO/IEC 13818-2, 6.2.2.1: the sequence header."""
    at = packet.find(b"\0\0\1\xb3")
    if at < 0:
        return None
    bits = _Bits(packet[at + 4 : at + 7])
    return bits.take(12), bits.take(12)


def _mpeg4_size(packet: bytes) -> tuple[int, int] | None:
    """ISO/IEC 14496-2, 6.2.3: the video object layer, of a rectangular shape."""
    at = packet.find(b"\0\0\1", 0)
    while at >= 0 and not 0x20 <= int.from_bytes(packet[at + 3 : at + 4], "big") <= 0x2F:
        at = packet.find(b"\0\0\1", at + 3)
    if at < 0:
        return None
    bits = _Bits(packet[at + 4 : at + 64])
    bits.take(9)  # random accessible, object type
    verid = 1
    if bits.take(1):
        verid = bits.take(4)
        bits.take(3)
    if bits.take(4) == 15:  # aspect ratio
        bits.take(16)
    if bits.take(1):  # control parameters
        bits.take(3)
        if bits.take(1):  # bit rates and buffers
            bits.take(79)
    shape = bits.take(2)
    if shape == 3 and verid != 1:
        bits.take(4)
    bits.take(1)
    resolution = bits.take(16)
    bits.take(1)
    if bits.take(1):  # fixed rate
        bits.take(max(1, (resolution - 1).bit_length()))
    if shape != 0:
        return None
    bits.take(1)
    width = bits.take(13)
    bits.take(1)
    return width, bits.take(13)


def _vp8_size(packet: bytes) -> tuple[int, int] | None:
    """RFC 6386, 9.1: the header of a key frame."""
    if len(packet) < 10 or packet[0] & 1 or packet[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = struct.unpack("<HH", packet[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _vp9_size(packet: bytes) -> tuple[int, int] | None:
    """VP9 bitstream specification, 6.2: the uncompressed header of a key frame."""
    bits = _Bits(packet[:24])
    if bits.take(2) != 2:
        return None
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    if bits.take(1) or bits.take(1):  # shows an existing frame; is no key frame
        return None
    bits.take(2)
    if bits.take(24) != 0x498342:
        return None
    if profile >= 2:
        bits.take(1)
    rgb = bits.take(3) == 7
    if not rgb:
        bits.take(1)
    if profile in (1, 3):
        bits.take(1 if rgb else 3)
    return bits.take(16) + 1, bits.take(16) + 1
