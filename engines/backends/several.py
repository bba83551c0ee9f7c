"""One network on several inputs: side by side where the backend can, else one after another.

A network that uses all cores for one input leaves parts of them idle; with an input for each core
it does not, and while it computes, the caller works on the results that are there already.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from engines.backends.engine import AsyncEngine, Engine

Item = TypeVar("Item")
Arrays = Mapping[str, np.ndarray]


def run_each(
    one: Engine,
    several: Sequence[AsyncEngine],
    items: Sequence[Item],
    write: Callable[[Arrays, Item], None],
) -> Iterator[Arrays]:
    """Run a network for each item; yield the outputs in order, valid until the next are asked for.

    Args:
        one: runs a single item, with all that the machine has.
        several: engines of the same network that compute side by side; none where the backend has
            no such, and `one` does everything.
        items: whatever `write` knows how to write.
        write: writes an item into an engine's inputs.
    """
    if len(items) < 2 or not several:
        for item in items:
            write(one.inputs, item)
            one.run()
            yield one.outputs
        return
    left = iter(items)
    while batch := list(islice(left, len(several))):
        yield from _side_by_side(several, batch, write)


def _side_by_side(
    several: Sequence[AsyncEngine], batch: Sequence[Item], write: Callable[[Arrays, Item], None]
) -> Iterator[Arrays]:
    running: list[AsyncEngine] = []
    try:
        for engine, item in zip(several, batch, strict=False):
            write(engine.inputs, item)
            engine.start()
            running.append(engine)
        while running:
            engine = running.pop(0)
            engine.wait()
            yield engine.outputs
    finally:  # whoever gives up in between leaves no engine at work
        for engine in running:
            engine.wait()
