"""Makes the `.npz` of an archive out of its scratch file, a few megabytes at a time."""

import json
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from engines.errors import PenumbraError
from engines.outputs import OutputFile
from realtime.records import FORMAT, Records


def assemble(records: Records, output: OutputFile, meta: Mapping[str, Any]) -> int:
    """Make the `.npz` of a scratch file; the number of frames.

    The result takes its name in one step or not at all; the scratch file stays.

    Args:
        records: of the scratch file.
        output: the result.
        meta: is added to the one with which the run began. Of `images`, those are kept that there
            are frames of.

    Raises:
        PenumbraError: the result cannot be written.
    """
    try:
        frames = records.count_frames()
        meta = {**records.meta, **meta, "frames": frames, "format": FORMAT}
        if "images" in meta:
            meta["images"] = records.of_frames(meta["images"])
        scratch, file = output.create_scratch(".tmp")
        try:
            with file:
                _write_npz(records, file, meta)
            output.commit(scratch)
        except PenumbraError:  # complete, but without its name; the message says where it is
            raise
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PenumbraError(
            f"out: '{output.path}' cannot be written ({error.strerror or error}); the "
            "frames are safe, free some space and run: "
            f"python -m realtime.archive recover '{records.path}'"
        ) from error
    return frames


def _write_npz(records: Records, file: BinaryIO, meta: Mapping[str, Any]) -> None:
    """Write one uncompressed member for each field: noise such as hypotheses hardly compresses."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in records.dtype.names or ():
            dtype = records.dtype[name]
            descr = np.lib.format.dtype_to_descr(dtype.base)
            shape = (records.count, *dtype.shape)
            layout = {"descr": descr, "fortran_order": False, "shape": shape}
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, layout)
                for chunk in records.chunks(name):
                    member.write(chunk.reshape(-1).view(np.uint8).data)
        with archive.open(zipfile.ZipInfo("meta.npy"), "w") as member:
            np.lib.format.write_array(member, np.array(json.dumps(meta)), allow_pickle=False)
