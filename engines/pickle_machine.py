"""Execute a pickle without trusting it: only functions that the caller lends it, within bounds.

A pickle is a program for a small stack machine. Python's own machine, restricted in the names that
it may look up, still calls C constructors with any arguments, and a few bytes make it allocate
gigabytes. This one has the opcodes that files of numbers need (protocols 0 to 4), and it
- calls only functions that `resolve` returns, and knows no other way to make an object;
- executes at most `MAX_OPCODES`, whose values take at most some 100 MB beside the file's own bytes;
- takes only numbers and text as keys, so that nothing deep is ever hashed;
- returns no object that contains itself, is nested too deep, or is too large when its shared parts
  are counted as often as they occur (`engines.pickle_objects`).
"""

import codecs
import struct
from collections.abc import Callable
from typing import Any

from engines.pickle_objects import Function, PickleError, Placeholder, finish

MAX_OPCODES = 300_000
"""SMPL's and 3DPW's files have some thousands."""
MAX_NUMBER_BYTES = 32
"""Longest integer or number in text."""


Resolve = Callable[[str, str], Function]


def execute(data: bytes, resolve: Resolve) -> Any:
    """Execute a pickle.

    Args:
        data: the pickle; what comes after its end is ignored.
        resolve: gives the function for a module's and a global's name; raises `PickleError` for
            names that are refused.

    Returns:
        Lists, tuples, dictionaries, sets, numbers, text, bytes, None, and values of placeholders.

    Raises:
        PickleError: the pickle is damaged, refused or too large.
    """
    try:
        result = _Machine(data, resolve).run()
    except PickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise PickleError(f"is damaged ({type(error).__name__})") from error
    return finish(result)


class _Machine:
    """The stack, the memo, and what the opcodes do with them."""

    def __init__(self, data: bytes, resolve: Resolve) -> None:
        self.data = data
        self.position = 0
        self.resolve = resolve
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            opcode = self.read(1)
            if opcode == b".":
                return self.pop()
            if opcode not in _OPCODES:
                raise PickleError(f"has the opcode {opcode!r}, which files of numbers do not need")
            _OPCODES[opcode](self)
        raise PickleError(f"has more than {MAX_OPCODES} opcodes")

    # Reading

    def read(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise PickleError("ends too early")
        part = self.data[self.position : end]
        self.position = end
        return part

    def skip(self, count: int) -> None:
        self.read(count)

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise PickleError("ends too early")
        return self.read(end + 1 - self.position)[:-1]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def counted(self, form: str) -> bytes:
        """Bytes after their number."""
        return self.read(self.number(form))

    def digits(self) -> str:
        line = self.line()
        if len(line) > MAX_NUMBER_BYTES:
            raise PickleError(f"has a number of {len(line)} digits")
        return line.decode("ascii")

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise PickleError("takes a value from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.push(value)
        return value

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # What opcodes do

    def drop(self) -> None:
        self.pop()

    def drop_to_mark(self) -> None:
        self.pop_to_mark()

    def int_text(self) -> None:
        digits = self.digits()
        self.push(digits == "01" if digits in ("00", "01") else int(digits))

    def int_bytes(self, form: str) -> None:
        count = self.number(form)
        if count > MAX_NUMBER_BYTES:
            raise PickleError(f"has an integer of {count} bytes")
        self.push(int.from_bytes(self.read(count), "little", signed=True))

    def string_text(self) -> None:
        line = self.line().strip()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise PickleError("has text without quotes")
        content: Any = codecs.escape_decode(line[1:-1])[0]
        self.push(content.decode("latin1"))

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        self._container(list).extend(values)

    def set_items(self, flat: list[Any]) -> None:
        self._container(dict).update(_items(flat))

    def add_items(self, values: list[Any]) -> None:
        self._container(set).update(_key(value) for value in values)

    def _container(self, kind: type) -> Any:
        target = self.top()
        if not isinstance(target, kind):
            raise PickleError(f"fills a {type(target).__name__} like a {kind.__name__}")
        return target

    def set_item(self) -> None:
        value = self.pop()
        key = self.pop()
        self.set_items([key, value])

    def global_text(self) -> None:
        module = self.line().decode("utf-8")
        name = self.line().decode("utf-8")
        self.push(self.resolve(module, name))

    def global_stack(self) -> None:
        name = self.pop()
        module = self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise PickleError("asks for a global by something that is no text")
        self.push(self.resolve(module, name))

    def instance_text(self) -> None:
        self.global_text()  # raises for every name that is refused
        raise PickleError("makes an instance of an old class, which files of numbers do not need")

    def call(self) -> None:
        arguments = self.pop()
        function = self.pop()
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise PickleError("calls something that is no function")
        self.push(function.call(*arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        if not isinstance(target, Placeholder):
            raise PickleError(f"gives a state to a {type(target).__name__}")
        target.state = state

    def get(self, index: int) -> None:
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.top()


def _key(value: Any) -> Any:
    """A key of a dictionary or a member of a set: nothing whose hash looks into other objects."""
    if value is None or isinstance(value, str | bytes | int):
        return value
    raise PickleError(f"has a key of type {type(value).__name__}")


def _items(flat: list[Any]) -> dict[Any, Any]:
    if len(flat) % 2:
        raise PickleError("has a key without a value")
    return {_key(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


_OPCODES: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda m: m.skip(1),  # protocol
    b"\x95": lambda m: m.skip(8),  # frame: the data is in memory already
    b"(": _Machine.mark,
    b"0": _Machine.drop,
    b"1": _Machine.drop_to_mark,
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _Machine.int_text,
    b"L": lambda m: m.push(int(m.digits().removesuffix("L"))),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.int_bytes("<B"),
    b"\x8b": lambda m: m.int_bytes("<i"),
    b"F": lambda m: m.push(float(m.digits())),
    b"G": lambda m: m.push(m.number(">d")),
    b"S": _Machine.string_text,
    b"T": lambda m: m.push(m.counted("<i").decode("latin1")),
    b"U": lambda m: m.push(m.counted("<B").decode("latin1")),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(m.counted("<I").decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m.counted("<B").decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.counted("<Q").decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.push(m.counted("<I")),
    b"C": lambda m: m.push(m.counted("<B")),
    b"\x8e": lambda m: m.push(m.counted("<Q")),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push(set()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"d": lambda m: m.push(_items(m.pop_to_mark())),
    b"\x91": lambda m: m.push(frozenset(_key(value) for value in m.pop_to_mark())),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"s": _Machine.set_item,
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"\x90": lambda m: m.add_items(m.pop_to_mark()),
    b"c": _Machine.global_text,
    b"\x93": _Machine.global_stack,
    b"i": _Machine.instance_text,
    b"R": _Machine.call,
    b"\x81": _Machine.call,  # a class is called like a function
    b"b": _Machine.build,
    b"g": lambda m: m.get(int(m.digits())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"p": lambda m: m.put(int(m.digits())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
}
