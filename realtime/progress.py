"""The progress of a recording, on a terminal: frames, time left, frames a second.

    with progress(length) as tell:
        session.run(progress=tell)

Log messages appear above the bar. Nothing is shown where stderr is no terminal.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engines.types import FrameInfo

Tell = Callable[[FrameInfo], None]
"""Is told of each frame that has been processed."""


@contextmanager
def progress(length: int | None, *, live: bool) -> Iterator[Tell | None]:
    """Show a bar while the block lasts; yields None where there is none.

    Args:
        length: Number of frames from the first to the last; the bar has no end when None.
        live: The source does not end, so it makes no progress.
    """
    if live or length == 1 or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # A terminal that goes away ends the bar and not the run: tqdm sees to that.
    bar = tqdm(total=length, unit=" frames", leave=False, dynamic_ncols=True)
    first: int | None = None

    def tell(frame: FrameInfo) -> None:
        nonlocal first
        first = frame.frame_id if first is None else first  # not 0 in a part of a recording
        bar.update(frame.frame_id - first + 1 - bar.n)

    with bar, logging_redirect_tqdm():
        yield tell
