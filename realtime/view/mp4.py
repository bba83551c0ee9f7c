"""Writes MPEG-4 video as a fragmented MP4 file (ISO/IEC 14496-12): readable at any moment.

    muxer = FragmentedMp4(file, size=(1280, 720))
    muxer.add(packet, 0.04)     # an encoded image, and for how long it is displayed, s
    muxer.finish()              # what is left of about half a second becomes the last fragment

An ordinary MP4 has its index at the end and is lost without it. Here the file begins with an empty
index, and each fragment (`moof` + `mdat`) carries its own: whatever ends the process, `kill -9`
included, all fragments before stay readable. A write that fails, such as on a full disk, is undone,
so that the file ends with a whole fragment.
"""

import contextlib
import struct
import time

from engines.outputs import WholeFile

FRAGMENT_S = 0.5
"""A fragment is written after this long, of the recording or of the clock, whichever is first."""
_VIDEO_OBJECT_PLANE = b"\0\0\1\xb6"
_GROUP_OF_PLANES = b"\0\0\1\xb3"
_TICKS_PER_S = 90_000  # a frame of 24, 25, 29.97, 30 or 60 a second has a whole number
_IDENTITY = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_KEY_SAMPLE = 0x02000000  # depends on no other sample
_DELTA_SAMPLE = 0x01010000  # depends on others and is no point to start from


class FragmentedMp4:
    """One video track. Nothing is written before the first fragment."""

    def __init__(self, file: WholeFile, size: tuple[int, int]) -> None:
        """Prepare the track.

        Args:
            file: Open for writing, at its end.
            size: (width, height), px.
        """
        self.frames = 0
        """Number of frames in the file; those of the open fragment are not in it yet."""
        self._file = file
        self._size = size
        self._fragments = 0
        self._samples: list[tuple[bytes, int]] = []  # packets and their durations, ticks
        self._end_s = 0.0
        self._end = 0  # of the samples, ticks
        self._fragment_began = 0
        self._fragment_began_s = 0.0  # by the clock

    def add(self, packet: bytes, duration_s: float) -> None:
        """Add the next encoded image, which is displayed for `duration_s`.

        Raises:
            OSError: The fragment could not be written; the file ends with the one before.
        """
        now_s = time.monotonic()
        if not self._samples:
            self._fragment_began, self._fragment_began_s = self._end, now_s
        self._end_s += duration_s
        end = round(self._end_s * _TICKS_PER_S)  # of the sum, so that roundings do not add up
        self._samples.append((packet, end - self._end))
        self._end = end
        lasts_s = (end - self._fragment_began) / _TICKS_PER_S
        if max(lasts_s, now_s - self._fragment_began_s) >= FRAGMENT_S:
            self.finish()

    def finish(self) -> None:
        """Write the open fragment; more may follow.

        Raises:
            OSError: The fragment could not be written; the file ends with the one before.
        """
        samples = self._samples
        self._samples = []
        if not samples:
            return
        data = _fragment(self._fragments + 1, self._fragment_began, samples)
        if not self._fragments:
            data = _header(self._size, _configuration(samples[0][0])) + data
        self._write(data)
        self._fragments += 1
        self.frames += len(samples)

    def _write(self, data: bytes) -> None:
        end = self._file.tell()
        try:
            self._file.write(data)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
                self._file.seek(end)
            raise


def _configuration(packet: bytes) -> bytes:
    """Return the decoder's configuration, the headers before the first image."""
    ends = [packet.find(code) for code in (_GROUP_OF_PLANES, _VIDEO_OBJECT_PLANE)]
    return packet[: min(end for end in ends if end >= 0)]


def _is_key(packet: bytes) -> bool:
    """Whether the coding type of the image is I: the two bits after its start code are zero."""
    start = packet.find(_VIDEO_OBJECT_PLANE) + len(_VIDEO_OBJECT_PLANE)
    return packet[start] >> 6 == 0


def _fragment(number: int, time: int, samples: list[tuple[bytes, int]]) -> bytes:
    """Return the boxes of one fragment, numbered from 1, which begins at `time` ticks."""
    table = b"".join(
        struct.pack(">3I", duration, len(packet), _KEY_SAMPLE if _is_key(packet) else _DELTA_SAMPLE)
        for packet, duration in samples
    )
    track = _full_box(b"tfhd", struct.pack(">I", 1), flags=0x020000)  # offsets count from the moof
    track += _full_box(b"tfdt", struct.pack(">Q", time), version=1)

    def movie_fragment(data_offset: int) -> bytes:
        run = struct.pack(">Ii", len(samples), data_offset) + table
        boxes = track + _full_box(b"trun", run, flags=0x701)  # offset; durations, sizes, flags
        return _box(b"moof", _full_box(b"mfhd", struct.pack(">I", number)) + _box(b"traf", boxes))

    data_offset = len(movie_fragment(0)) + 8  # behind the header of the mdat
    return movie_fragment(data_offset) + _box(b"mdat", b"".join(packet for packet, _ in samples))


def _header(size: tuple[int, int], configuration: bytes) -> bytes:
    """Return the file type and the movie, which has one track and no samples."""
    width, height = size
    movie = struct.pack(">4I", 0, 0, _TICKS_PER_S, 0) + struct.pack(">IH10x", 1 << 16, 1 << 8)
    movie = _full_box(b"mvhd", movie + _IDENTITY + bytes(24) + struct.pack(">I", 2))
    track = struct.pack(">5I16x", 0, 0, 1, 0, 0) + _IDENTITY
    track = _full_box(b"tkhd", track + struct.pack(">2I", width << 16, height << 16), flags=3)
    media = _full_box(b"mdhd", struct.pack(">4IHH", 0, 0, _TICKS_PER_S, 0, 0x55C4, 0))
    media += _full_box(b"hdlr", struct.pack(">I4s12x", 0, b"vide") + b"video\0")
    media += _box(b"minf", _media_information(size, configuration))
    defaults = struct.pack(">5I", 1, 1, 0, 0, 0)  # track, description; each sample says the rest
    extends = _box(b"mvex", _full_box(b"trex", defaults))
    track += _box(b"mdia", media)
    return _box(b"ftyp", b"iso5\0\0\2\0iso5iso6mp41") + _box(
        b"moov", movie + _box(b"trak", track) + extends
    )


def _media_information(size: tuple[int, int], configuration: bytes) -> bytes:
    """Return the description of the samples, and the empty tables of where they lie."""
    location = _full_box(b"url ", b"", flags=1)  # in this file
    data = _box(b"dinf", _full_box(b"dref", struct.pack(">I", 1) + location))
    entry = struct.pack(">6xH16x2H2I4xH32xHh", 1, *size, 72 << 16, 72 << 16, 1, 24, -1)
    entry = _box(b"mp4v", entry + _full_box(b"esds", _elementary_stream(configuration)))
    tables = _full_box(b"stsd", struct.pack(">I", 1) + entry)
    tables += _full_box(b"stts", bytes(4)) + _full_box(b"stsc", bytes(4))
    tables += _full_box(b"stsz", bytes(8)) + _full_box(b"stco", bytes(4))
    return _full_box(b"vmhd", bytes(8), flags=1) + data + _box(b"stbl", tables)


def _elementary_stream(configuration: bytes) -> bytes:
    """Return the descriptor of an MPEG-4 visual stream (ISO/IEC 14496-1, 7.2.6)."""
    decoder = struct.pack(">BB3xII", 0x20, 0x11, 0, 0) + _descriptor(5, configuration)
    stream = struct.pack(">HB", 1, 0) + _descriptor(4, decoder) + _descriptor(6, b"\2")
    return _descriptor(3, stream)


def _descriptor(tag: int, data: bytes) -> bytes:
    size = len(data)
    sizes = bytes([0x80 | size >> 21 & 0x7F, 0x80 | size >> 14 & 0x7F, 0x80 | size >> 7 & 0x7F])
    return bytes([tag]) + sizes + bytes([size & 0x7F]) + data


def _full_box(kind: bytes, data: bytes, *, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + data)


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data
