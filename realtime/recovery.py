"""Makes the frames of a killed run readable: `python -m realtime.archive recover PARTIAL`."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from engines import command
from engines.errors import PenumbraError
from engines.outputs import open_output, scratch_files
from realtime.assembly import assemble
from realtime.records import Records

_SCRATCH = re.compile(r"(?P<out>.+\.npz)(\.[0-9a-f]{16})?\.partial", re.DOTALL)


def recover(partial: Path, out: Path | None = None, *, force: bool = False) -> tuple[Path, int]:
    """Turn the scratch file of a killed run into its archive; the scratch file stays.

    Memory is bounded by `records.CHUNK_BYTES` and `records.MAX_HEADER_BYTES`, whatever the file
    says.

    Args:
        partial: the scratch file, whole or cut off anywhere behind its header.
        out: the result; the name that the run would have given it when None.
        force: replace a regular file that exists there.

    Returns:
        The result and its number of frames.

    Raises:
        PenumbraError: `partial` is not a scratch file, or the result exists already.
    """
    if out is None:
        if (name := _SCRATCH.fullmatch(partial.name)) is None:
            raise PenumbraError(f"partial: '{partial}' {_why_no_scratch(partial)}")
        out = partial.with_name(name["out"])
    with open_output(out, "out", ".npz", force=force, scratch_suffix=".lock") as output:
        records = Records.open(partial)
        with records.file:
            return out, assemble(records, output, {"interrupted_by": "kill"})


def _why_no_scratch(path: Path) -> str:
    """Say of a file with another name than a scratch file has what it is, and what to do."""
    if path.suffix != ".npz":
        return "does not end in .npz.partial; name the result with `out`."
    left = [f"'{file}'" for file in scratch_files(path) if _SCRATCH.fullmatch(file.name)]
    if left:
        return f"is the name of a result; give its scratch file, {' or '.join(left)}."
    return (
        "is the name of a result, and no run has left a scratch file of it; what numpy.load reads "
        "needs no recovery."
    )


@dataclass(frozen=True)
class Options:
    """Repair the archives of killed runs."""

    action: Annotated[Literal["recover"], tyro.conf.Positional]
    """Turn OUT.npz.partial into OUT.npz."""
    partial: Annotated[Path, tyro.conf.Positional]
    """The scratch file beside the output."""
    out: Path | None = None
    """The result; by default the name that the run would have given it."""
    force: bool = False
    """Replace a result that exists already."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 2 where something must be put right."""
    # Its warning about scratch files that are left is about the one that is read here.
    log = logging.getLogger("engines.outputs")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        command.start(run, Options, arguments)
    finally:
        log.setLevel(level)


def run(options: Options) -> None:
    """Recover one archive."""
    out, count = recover(options.partial, options.out, force=options.force)
    print(f"{count} frames written to {out}; {options.partial} can be deleted now")
