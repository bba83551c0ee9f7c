"""How a field of the stream is declared; `message.py` has the declarations.

Needs the standard library only: subscribers import it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, get_type_hints

Kind = Literal[
    "text", "flag", "count", "signed", "number", "counts", "numbers", "rows", "texts", "map",
    "array", "one", "optional", "many", "finite",
]  # fmt: skip
"""How a value looks in the header.

A `count` is an integer from 0 on, `numbers` a list of finite numbers, `rows` a list of such lists,
`finite` a number, or nil where it is infinite, `one` a map of fields declared here, `optional` the
same or nil, `many` a list of them, and `array` a reference into the data that follow the header.
"""


@dataclass(frozen=True)
class Stored:
    """How the archive keeps a field."""

    name: str
    dtype: str
    shape: str
    take: str
    """Where the value is in an `Estimate` (fields of a message) or a `Person` (all others)."""
    meaning: str = ""
    """What the array means; as the field does when empty."""


@dataclass(frozen=True)
class Field:
    """The declaration of one field."""

    kind: Kind
    take: str
    """Where the value is, as a path of attributes."""
    meaning: str
    unit: str = ""
    shape: str = ""
    """Sizes; K is the number of hypotheses, n any number."""
    dtype: str = ""
    """Element type of an array, "<f4" or "|u1"."""
    stored: Stored | None = None
    """None: the archive leaves it out."""
    nested: type | None = None
    """The class whose fields the map has (`one`, `optional`, `many`)."""
    since: int = 0
    """The minor version that it came with; messages of earlier ones lack it, and None is read."""
    valid: Callable[[Any], bool] | None = None
    """What else must hold, as `meaning` says it."""


def array(
    shape: str,
    unit: str,
    take: str,
    meaning: str,
    *,
    archive: str | Stored | None = None,
    dtype: str = "<f4",
    since: int = 0,
) -> Field:
    """An array, kept in the archive under the name `archive`, or in the way that it says."""
    if isinstance(archive, str):
        archive = Stored(archive, dtype, shape, take)
    return Field("array", take, meaning, unit, shape, dtype, archive, since=since)


@cache
def declared(message: type) -> dict[str, Field]:
    """The fields of one of the classes of `message.py`, by name."""
    hints = get_type_hints(message, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


@cache
def archived(*messages: type) -> tuple[Stored, ...]:
    """What the archive keeps of classes of `message.py`, in their order."""
    fields = (field for message in messages for field in declared(message).values())
    return tuple(field.stored for field in fields if field.stored is not None)


@lru_cache(maxsize=256)
def sizes(shape: str, K: int | None = None) -> tuple[int | None, ...]:
    """The numbers of a shape such as "K 24 3"; None for any other letter."""
    known = {"K": K}
    return tuple(int(size) if size.isdigit() else known.get(size) for size in shape.split())
