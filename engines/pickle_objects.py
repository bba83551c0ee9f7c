"""What a pickle is executed with, and what may come out of it: no more than stated bounds.

While a pickle is executed (`engines.pickle_machine`) its objects are placeholders, because their
state comes last. Afterwards `finish` puts the objects in their place. It refuses what contains
itself and what is nested deeper than `MAX_DEPTH`, and counts `MAX_BYTES`: a few bytes that refer to
one list again and again would otherwise become any number of lists in whoever walks through them.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_DEPTH = 32
"""Levels of lists, dictionaries and objects inside each other."""
MAX_BYTES = 2**30
"""Memory of everything, shared parts counted as often as they occur."""


class PickleError(ValueError):
    """The pickle is damaged, asks for something that it does not get, or exceeds a bound."""


@dataclass(frozen=True)
class Function:
    """What a pickle gets for a name: it may call it, or hand it to another function."""

    name: str
    call: Callable[..., Any]


class Placeholder:
    """Base of the objects that a `Function` may make and that get their state afterwards."""

    state: Any = None

    def finished(self) -> Any:
        """The object that takes this one's place in the end; `state` is finished already."""
        return self


def finish(value: Any) -> Any:
    """Put finished objects in the place of placeholders, and keep to the bounds.

    Raises:
        PickleError: a bound is exceeded, or a placeholder has not the state that it needs.
    """
    return _finish(value, 0, {}).value


@dataclass(frozen=True, slots=True)
class _Finished:
    value: Any
    size: int
    """Bytes, about; shared parts count as often as they occur."""
    height: int
    """Levels of nesting."""


def _finish(value: Any, depth: int, done: dict[int, _Finished]) -> _Finished:
    """One part of the whole.

    Args:
        value: what the machine made.
        depth: at which it was found first; bounds the recursion.
        done: what was finished before, by the identity of the original.
    """
    parts = _parts(value)
    if not parts and not isinstance(value, Placeholder):
        return _Finished(value, _own_size(value), 1)
    if id(value) in done:
        return done[id(value)]
    if depth > MAX_DEPTH:
        raise PickleError(f"is nested deeper than {MAX_DEPTH}, or contains itself")
    finished = [_finish(part, depth + 1, done) for part in parts]
    result = _rebuilt(value, [part.value for part in finished])
    size = _own_size(result) + sum(part.size for part in finished)
    height = 1 + max(part.height for part in finished)
    if height > MAX_DEPTH:
        raise PickleError(f"is nested deeper than {MAX_DEPTH}")
    if size > MAX_BYTES:
        raise PickleError(f"is larger than {MAX_BYTES} bytes, shared parts counted each time")
    done[id(value)] = _Finished(result, size, height)
    return done[id(value)]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, Placeholder):
        return [value.state]
    return []


def _rebuilt(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, list):
        return parts
    if isinstance(value, tuple):
        return tuple(parts)
    if isinstance(value, dict):
        return dict(zip(value, parts, strict=True))
    if isinstance(value, Placeholder):
        value.state = parts[0]
        return value.finished()
    return value


def _own_size(value: Any) -> int:
    """Bytes of an object without its parts."""
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)
