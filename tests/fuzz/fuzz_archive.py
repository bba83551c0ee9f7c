"""Scratch files of archives, as the recovery reads them."""

import json
import tempfile
from pathlib import Path

import numpy as np

from engines.errors import PenumbraError
from realtime.records import MAGIC, blank_record, records_of
from realtime.recovery import recover
from tests.support.example_estimate import make_estimate

MAX_MB = 96
_folder = Path(tempfile.mkdtemp())


def seeds() -> list[bytes]:
    """No frame; two frames; two and a half."""
    header = MAGIC + json.dumps({"k": 1, "meta": {"fps": 30.0}}).encode() + b"\n"
    frame = records_of(make_estimate(count=1), blank_record(1)).tobytes()
    return [header, header + 2 * frame, header + 2 * frame + frame[:1000]]


def read(data: bytes) -> None:
    """Recover, and load what came of it."""
    partial, out = _folder / "fuzz.npz.partial", _folder / "fuzz.npz"
    partial.write_bytes(data)
    try:
        _, count = recover(partial)
    except PenumbraError as error:
        assert str(error).startswith(("partial: ", "out: "))
        return
    with np.load(out, allow_pickle=False) as arrays:
        rows = len(arrays["frame"])  # one for each person, so several for a frame
        assert all(len(arrays[name]) == rows for name in arrays.files if name != "meta")
        assert count == (np.diff(arrays["frame"]) != 0).sum() + (rows > 0)
        assert set(arrays["found"].view(np.uint8)) <= {0, 1}
        json.loads(str(arrays["meta"]))
    out.unlink()
