"""Writes every estimate of a run to one `.npz`, such that no crash can take away what was already
written.

While the run lasts, each frame is appended as one fixed-size little-endian record to a scratch file
beside the result (`OUT.npz.partial`) and handed to the operating system at once. At the end, also
after Ctrl-C or an error, the records are rearranged into one array per field, never all of them in
memory, and the result takes its name in one step. After a `kill -9` the scratch file is still
there:

    python -m realtime.archive recover OUT.npz.partial

Arrays (N frames, K hypotheses; camera frame, metres; rows of frames without a person are NaN):
    frame (N,) int64; t (N,) float64, media time in seconds; found (N,) bool
    track_id (N,) int32: another number is another person; 0 where nobody is
    joints (N, 24, 3), joint_cov (N, 24, 3, 3), joint_visible (N, 24), distance_std (N,), ray (N,
    3): see `types.Person` hypotheses (N, K, 24, 3), weights (N, K)
    global_orient (N, 3), body_pose (N, 69), betas (N, 10), transl (N, 3)
    landmarks (N, 33, 3): x px, y px, visibility
    meta: JSON string
"""

import argparse
import json
import logging
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS, NUM_LANDMARKS, Estimate, Person

log = logging.getLogger(__name__)

MAGIC = b"PENUMBRA RECORDS 2\n"
MAX_HEADER_BYTES = 1 << 20
CHUNK_BYTES = 8 << 20


def record_dtype(k: int) -> np.dtype:
    """One frame with `k` hypotheses, as it lies in the scratch file."""
    f4 = "<f4"
    return np.dtype(
        [
            ("frame", "<i8"),
            ("t", "<f8"),
            ("found", "?"),
            ("track_id", "<i4"),
            ("joints", f4, (NUM_JOINTS, 3)),
            ("joint_cov", f4, (NUM_JOINTS, 3, 3)),
            ("joint_visible", f4, (NUM_JOINTS,)),
            ("distance_std", f4),
            ("ray", f4, (3,)),
            ("hypotheses", f4, (k, NUM_JOINTS, 3)),
            ("weights", f4, (k,)),
            ("global_orient", f4, (3,)),
            ("body_pose", f4, (3 * (NUM_JOINTS - 1),)),
            ("betas", f4, (NUM_BETAS,)),
            ("transl", f4, (3,)),
            ("landmarks", f4, (NUM_LANDMARKS, 3)),
        ]
    )


class Archive:
    """Collects the estimates of one run.

    with Archive(Path("out.npz"), k=100, meta={"backend": "openvino"}) as archive:
        archive.append(estimate)
        archive.meta["fps"] = 31.2  # known only later; `meta` may change until the end
    """

    def __init__(self, path: Path | str, k: int, meta: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            path: the `.npz` to write; replaced at the end if it exists.
            k: hypotheses in every estimate.
            meta: whatever JSON can hold; joint names, K and the number of frames are added.

        Raises:
            PenumbraError: nothing can be written there.
        """
        assert k > 0, f"k = {k}"
        self.path = Path(path)
        self.k = k
        self.meta: dict[str, Any] = {"joint_names": list(JOINT_NAMES), "K": k, **(meta or {})}
        self._blank = _blank_record(k)
        self._count = 0
        self._failed = False
        self._closed = False
        if self.path.is_dir():
            raise PenumbraError(f"--out '{self.path}' is a folder; give the name of a file")
        try:
            self.partial, self._file = _create_beside(self.path)
            self._write_all(MAGIC + json.dumps({"k": k, "meta": self.meta}).encode() + b"\n")
        except OSError as error:
            raise PenumbraError(
                f"--out '{self.path}' cannot be written ({error.strerror}); choose a folder that exists and allows it"
            ) from error

    @property
    def count(self) -> int:
        """Frames written so far."""
        return self._count

    def append(self, estimate: Estimate) -> None:
        """Write one frame; once this returns, only the operating system can still lose it.

        Raises:
            PenumbraError: the disk is full or gone. Earlier frames stay readable.
        """
        assert not (self._closed or self._failed), "append() after close() or after an error"
        record = self._blank.copy()
        record["frame"] = estimate.frame.frame_id
        record["t"] = estimate.frame.media_time_s
        if estimate.person is not None:
            _fill(record, estimate.person)
        try:
            self._write_all(record.tobytes())
        except OSError as error:
            self._failed = True
            raise PenumbraError(
                f"--out '{self.path}' cannot grow ({error.strerror}); the {self._count} frames before are kept, "
                "free some space and start again"
            ) from error
        self._count += 1

    def close(self) -> None:
        """Assemble the `.npz` and remove the scratch file. May be called again.

        Raises:
            PenumbraError: there is no room for the result. The scratch file stays and the message
                says how to use it.
        """
        if self._closed:
            return
        self._closed = True
        self._file.close()
        assemble(self.partial, self.path, self.meta)
        self.partial.unlink()

    def __enter__(self) -> "Archive":
        return self

    def discard(self) -> None:
        """Remove the scratch file and leave what was at `path` as it is."""
        self._closed = True
        self._file.close()
        self.partial.unlink(missing_ok=True)

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.close()
            return
        if (
            self._count == 0
        ):  # a run that failed before its first frame must not empty the file of an earlier one
            self.discard()
            return
        # The run already fails for a reason of its own, which the user must see; ours is only
        # logged.
        self.meta["interrupted_by"] = kind.__name__
        try:
            self.close()
        except PenumbraError as error:
            log.error("%s", error)
        else:
            log.warning("'%s' holds the %d frames up to the interruption", self.path, self._count)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while (
            view
        ):  # an unbuffered write may take only a part, for example what still fits on the disk
            view = view[self._file.write(view) :]


def assemble(partial: Path, out: Path, meta: Mapping[str, Any] | None = None) -> int:
    """Turn a scratch file into the `.npz`; the number of frames. `out` is replaced in one step or
    not at all.

    Args:
        partial: written by `Archive`; a last record that is incomplete is left out.
        out: result.
        meta: replaces the one with which the run began.

    Raises:
        PenumbraError: `partial` is not such a file, or `out` cannot be written.
    """
    records, first_meta = _read_partial(partial)
    meta_json = json.dumps({**(first_meta if meta is None else meta), "frames": len(records)})
    temporary = out.with_name(out.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            _write_npz(file, records, meta_json)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PenumbraError(
            f"--out '{out}' cannot be written ({error.strerror}); the {len(records)} frames are safe, free some space "
            f"and run: python -m realtime.archive recover '{partial}'"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return len(records)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """A new scratch file next to `path`. Those of earlier or concurrent runs are never touched."""
    number = 0
    while True:
        suffix = f"-{number}" if number else ""
        partial = path.with_name(f"{path.stem}{suffix}{path.suffix}.partial")
        try:
            return partial, partial.open("xb", buffering=0)
        except FileExistsError:
            log.warning(
                "'%s' belongs to a run that did not end; to read it: python -m realtime.archive recover '%s'",
                partial,
                partial,
            )
            number += 1


def _blank_record(k: int) -> np.ndarray:
    record = np.zeros((), record_dtype(k))
    assert record.dtype.names is not None
    for name in record.dtype.names:
        if record.dtype[name].base.kind == "f":
            record[name] = np.nan
    return record


def _fill(record: np.ndarray, person: Person) -> None:
    # The assertion keeps a single hypothesis from being broadcast silently over K rows.
    assert person.hypotheses.joints.shape == record["hypotheses"].shape, (
        person.hypotheses.joints.shape
    )
    record["found"] = True
    record["track_id"] = person.track_id
    record["joints"] = person.best.joints
    record["joint_cov"] = person.joint_cov
    record["joint_visible"] = person.joint_visible
    record["distance_std"] = person.distance_std
    record["ray"] = person.ray
    record["hypotheses"] = person.hypotheses.joints
    record["weights"] = person.hypotheses.weights
    record["global_orient"] = person.best.global_orient
    record["body_pose"] = person.best.body_pose
    record["betas"] = person.best.betas
    record["transl"] = person.best.transl
    record["landmarks"][:, :2] = person.landmarks.points
    record["landmarks"][:, 2] = person.landmarks.visibility


def _read_partial(partial: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Records (N,), mapped rather than read, and the meta data with which the run began."""
    try:
        with partial.open("rb") as file:
            magic = file.read(len(MAGIC))
            header_line = file.readline(MAX_HEADER_BYTES)
            start = file.tell()
            length = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise PenumbraError(
            f"'{partial}' cannot be read ({error.strerror}); check the path"
        ) from error
    if magic != MAGIC or not header_line.endswith(b"\n"):
        raise PenumbraError(
            f"'{partial}' is not the scratch file of a run; give the '.partial' file beside the output"
        )
    header = json.loads(header_line)
    dtype = record_dtype(int(header["k"]))
    count = (length - start) // dtype.itemsize
    if count == 0:  # an empty range cannot be mapped
        return np.zeros(0, dtype), header["meta"]
    return np.memmap(partial, dtype, mode="r", offset=start, shape=(count,)), header["meta"]


def _write_npz(file: BinaryIO, records: np.ndarray, meta_json: str) -> None:
    """One uncompressed member per field, a few megabytes at a time: noise such as hypotheses hardly
    compresses.
    """
    assert records.dtype.names is not None
    rows = max(1, CHUNK_BYTES // records.dtype.itemsize)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in records.dtype.names:
            field = records[name]
            header = {
                "descr": np.lib.format.dtype_to_descr(field.dtype),
                "fortran_order": False,
                "shape": field.shape,
            }
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for start in range(0, len(field), rows):
                    member.write(np.ascontiguousarray(field[start : start + rows]).tobytes())
        with archive.open(zipfile.ZipInfo("meta.npy"), "w") as member:
            np.lib.format.write_array(member, np.array(meta_json), allow_pickle=False)


def recover(partial: Path, out: Path | None = None) -> tuple[Path, int]:
    """Make the frames of a killed run readable; the result and its number of frames. The scratch
    file stays.

    Raises:
        PenumbraError: `partial` is not a scratch file, or the result exists already.
    """
    if out is None:
        if partial.suffix != ".partial":
            raise PenumbraError(f"'{partial}' does not end in .partial; name the result with --out")
        out = partial.with_suffix("")
    if out.exists():
        raise PenumbraError(f"'{out}' exists already; give another name with --out")
    _, meta = _read_partial(partial)
    return out, assemble(partial, out, {**meta, "interrupted_by": "kill"})


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m realtime.archive", description="Repairs archives of killed runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("recover", help="turn OUT.npz.partial into OUT.npz")
    command.add_argument("partial", type=Path)
    command.add_argument("--out", type=Path, help="name of the result (default: without .partial)")
    arguments = parser.parse_args(argv)
    try:
        out, count = recover(arguments.partial, arguments.out)
    except PenumbraError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} frames written to {out}; {arguments.partial} can be deleted now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
