"""Writes every estimate of a run to one `.npz`, so that a crash loses nothing that was written.

While the run lasts, each person of each frame is appended as one record (`records.py`) to a scratch
file beside the result, and a frame is handed to the operating system at once. At the end, also
after Ctrl-C or an error, the records are rearranged into one array per field, never all of them in
memory, and the result takes its name in one step. After a `kill -9` the scratch file is still
there:

    python -m realtime.archive recover OUT.npz.3f9c1a7e5b2d4860.partial

`README.md` lists the arrays; `stream.message` declares them.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from engines.errors import PenumbraError
from engines.outputs import open_output
from engines.types import JOINT_NAMES, Estimate
from realtime.assembly import assemble
from realtime.records import MAX_K, Records, blank_record, header, records_of

log = logging.getLogger(__name__)


class Archive:
    """Collects the estimates of one run.

    with Archive(Path("out.npz"), k=100, meta={"backend": "openvino"}) as archive:
        archive.append(estimate)
        archive.meta["fps"] = 31.2  # known only later; `meta` may change until the end
    """

    def __init__(
        self,
        path: Path | str,
        k: int,
        meta: Mapping[str, Any] | None = None,
        *,
        force: bool = False,
    ) -> None:
        """Open the scratch file; what is at `path` stays until `close`.

        Args:
            path: the `.npz` to write.
            k: hypotheses in every estimate.
            meta: whatever JSON can hold; joint names, K and the number of frames are added.
            force: replace a regular file that exists at `path`.

        Raises:
            PenumbraError: nothing can be written there, or something is there already.
        """
        if not 1 <= k <= MAX_K:
            raise PenumbraError(f"hypotheses: must be between 1 and {MAX_K} to be kept, not {k}.")
        self.k = k
        self.meta: dict[str, Any] = {"joint_names": list(JOINT_NAMES), "K": k, **(meta or {})}
        self._blank = blank_record(k)
        self._count = 0
        self._failed = False
        self._closed = False
        self._output = open_output(Path(path), "out", ".npz", force=force)
        self.path = self._output.path
        self.partial = self._output.scratch
        """The scratch file."""
        try:
            self._output.file.write(header(k, self.meta))
        except (OSError, PenumbraError) as error:
            self._output.discard()
            if isinstance(error, PenumbraError):
                raise
            raise PenumbraError(
                f"out: '{self.path}' cannot be written ({error.strerror}); choose another disk."
            ) from error

    @property
    def count(self) -> int:
        """Frames written so far."""
        return self._count

    def append(self, estimate: Estimate) -> None:
        """Write one frame; once this returns, only the operating system can still lose it.

        Raises:
            PenumbraError: the disk is full or gone. Earlier frames stay, and `close` still makes
                the result of them; no more can be appended.
        """
        assert not (self._closed or self._failed), "append() after close() or after an error"
        try:
            self._output.file.write(records_of(estimate, self._blank).tobytes())
        except OSError as error:
            self._failed = True
            self.meta["interrupted_by"] = error.strerror
            raise PenumbraError(
                f"out: '{self.path}' cannot grow ({error.strerror}); the {self._count} frames "
                "before are kept, free some space and start again."
            ) from error
        self._count += 1

    def close(self) -> None:
        """Make the `.npz` and remove the scratch file. May be called again.

        Raises:
            PenumbraError: there is no room for the result. The scratch file stays, and the message
                says how to use it.
        """
        if self._closed:
            return
        self._closed = True
        try:  # by the open file: its name may have been taken away meanwhile
            assemble(Records.of(self._output.file, self.partial), self._output, self.meta)
        except BaseException:
            self._output.keep()
            raise
        self._output.discard()

    def discard(self) -> None:
        """Remove the scratch file and leave what was at `path` as it is."""
        self._closed = True
        self._output.discard()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif self._count == 0:  # a run that failed before its first frame leaves what was there
            self.discard()
        else:
            self._close_after(kind)

    def _close_after(self, kind: type[BaseException]) -> None:
        """Close in a run that fails already: its own reason is raised, ours is only logged."""
        self.meta["interrupted_by"] = kind.__name__
        try:
            self.close()
        except PenumbraError as error:
            log.error("%s", error)
        else:
            log.warning("'%s' holds the %d frames up to the interruption", self.path, self._count)


if __name__ == "__main__":
    from realtime.recovery import main

    main(sys.argv[1:])
