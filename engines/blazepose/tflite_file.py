"""The parts of a TFLite file that describe one network, checked and bounded.

Field numbers follow the schema, `tensorflow/compiler/mlir/lite/schema/schema.fbs`. A file may have
`MAX_FILE_BYTES`, its graph `MAX_PARTS` tensors, operators, buffers and operator codes each, and an
operator `MAX_CONNECTIONS` inputs and outputs each; BlazePose's networks have at most 28 MB, 1098
and 3. Reading takes at most 20 times the file's size in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Integer, UInt8

from engines.blazepose.flatbuffer import FlatbufferError, Table

MAX_FILE_BYTES = 64 * 2**20
MAX_PARTS = 8192
MAX_CONNECTIONS = 64
MAX_RANK = 4
MAX_SIZE = 2**24
"""Largest size of one axis."""
FLOAT32, FLOAT16, INT32 = 0, 1, 2
SAME_PADDING = 0

OPERATORS = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    34: "PAD",
    124: "DENSIFY",
}
"""Code to name of the operators that BlazePose's networks use."""
_OPTIONS: Mapping[str, Mapping[str, tuple[int, str, int]]] = {
    "ADD": {"activation": (0, "b", 0)},
    "CONCATENATION": {"axis": (0, "i", 0), "activation": (1, "b", 0)},
    "CONV_2D": {
        "padding": (0, "b", 0),
        "stride_w": (1, "i", 0),
        "stride_h": (2, "i", 0),
        "activation": (3, "b", 0),
        "dilation_w": (4, "i", 1),
        "dilation_h": (5, "i", 1),
    },
    "DEPTHWISE_CONV_2D": {
        "padding": (0, "b", 0),
        "stride_w": (1, "i", 0),
        "stride_h": (2, "i", 0),
        "activation": (4, "b", 0),
        "dilation_w": (5, "i", 1),
        "dilation_h": (6, "i", 1),
    },
    "DEPTH_TO_SPACE": {"block_size": (0, "i", 0)},
    "MAX_POOL_2D": {
        "padding": (0, "b", 0),
        "stride_w": (1, "i", 0),
        "stride_h": (2, "i", 0),
        "filter_w": (3, "i", 0),
        "filter_h": (4, "i", 0),
        "activation": (5, "b", 0),
    },
    "RESIZE_BILINEAR": {"align_corners": (2, "?", 0), "half_pixel_centers": (3, "?", 0)},
}
"""Operator to its options: slot, format and default of each."""
_INDEX_VECTORS = {1: "<i4", 2: "<u2", 3: "u1"}
"""Kind of a sparse index vector to the type of its elements."""


@dataclass(frozen=True)
class SparseLayout:
    """Rows of the last axis, compressed; all other axes are dense."""

    segments: Integer[np.ndarray, "R"]
    """Where each row's columns start, and the end of the last."""
    columns: Integer[np.ndarray, "N"]


@dataclass(frozen=True)
class Tensor:
    """A value of the graph, or a constant."""

    name: str
    shape: tuple[int, ...]
    """Channels last."""
    type: int
    content: UInt8[np.ndarray, "N"]
    """Bytes of a constant; empty where the value is computed."""
    sparse: SparseLayout | None


@dataclass(frozen=True)
class Operator:
    """A node of the graph."""

    kind: str
    """Name of `OPERATORS`, or the number of one that is not there."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]


class TfliteFile:
    """One file and its only graph.

    Raises:
        FlatbufferError: if the file is damaged, has no graph, or is larger than stated above.
    """

    def __init__(self, data: bytes) -> None:
        if data[4:8] != b"TFL3":
            raise FlatbufferError("it is not a TFLite file")
        if len(data) > MAX_FILE_BYTES:
            raise FlatbufferError(f"it has more than {MAX_FILE_BYTES} bytes")
        self._model = Table.root(data)
        graphs = self._model.tables(2, MAX_PARTS)
        if not graphs:
            raise FlatbufferError("it has no graph")
        self._graph = graphs[0]
        self._tensors = self._graph.tables(0, MAX_PARTS)
        self._buffers = self._model.tables(4, MAX_PARTS)
        self._codes = self._model.tables(1, MAX_PARTS)
        self._read: dict[int, Tensor] = {}

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that the caller fills."""
        return self._connections(self._graph, 1)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensors that the caller reads."""
        return self._connections(self._graph, 2)

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """Nodes in running order."""
        return tuple(self._operator(table) for table in self._graph.tables(3, MAX_PARTS))

    def tensor(self, index: int) -> Tensor:
        """Describe one tensor."""
        if index not in self._read:
            self._read[index] = self._tensor(_entry(self._tensors, index, "tensor"))
        return self._read[index]

    def _tensor(self, table: Table) -> Tensor:
        name, shape = table.text(3), table.numbers(0, "<i4")
        if len(shape) > MAX_RANK or not ((shape > 0) & (shape <= MAX_SIZE)).all():
            raise FlatbufferError(f"{name} has a shape that is not supported")
        buffer = _entry(self._buffers, table.number(2, "I"), "buffer")
        sizes = tuple(map(int, shape))
        sparsity = table.table(6)
        sparse = None if sparsity is None else _sparse_layout(sparsity, name, len(sizes))
        return Tensor(name, sizes, table.number(1, "b"), buffer.numbers(0, "u1"), sparse)

    def _operator(self, table: Table) -> Operator:
        code = _entry(self._codes, table.number(0, "I"), "operator code")
        # Old files have one byte for the code only, slot 0.
        number = max(code.number(0, "b"), code.number(3, "i"))
        kind = OPERATORS.get(number, str(number))
        stored = table.table(4)
        options = {
            name: default if stored is None else stored.number(slot, form, default)
            for name, (slot, form, default) in _OPTIONS.get(kind, {}).items()
        }
        return Operator(kind, self._connections(table, 1), self._connections(table, 2), options)

    def _connections(self, table: Table, slot: int) -> tuple[int, ...]:
        indices = table.numbers(slot, "<i4")
        if (
            len(indices) > MAX_CONNECTIONS
            or not ((indices >= 0) & (indices < len(self._tensors))).all()
        ):
            raise FlatbufferError("a connection leads to no tensor, or there are too many")
        return tuple(map(int, indices))


def _sparse_layout(sparsity: Table, name: str, rank: int) -> SparseLayout:
    """Read the only layout that is supported: all axes dense but the last, in their order."""
    axes = sparsity.tables(2, 2 * MAX_RANK)
    order = sparsity.numbers(0, "<i4")
    formats = [axis.number(0, "b") for axis in axes]
    if not (rank and np.array_equal(order, np.arange(rank)) and formats == [0] * (rank - 1) + [1]):
        raise FlatbufferError(f"the sparse layout of {name} is not supported")
    segments = _index_vector(axes[-1].number(2, "B"), axes[-1].table(3))
    columns = _index_vector(axes[-1].number(4, "B"), axes[-1].table(5))
    return SparseLayout(segments, columns)


def _index_vector(kind: int, table: Table | None) -> Integer[np.ndarray, "N"]:
    if table is None or kind not in _INDEX_VECTORS:
        raise FlatbufferError("a sparse constant has no index")
    return table.numbers(0, _INDEX_VECTORS[kind])


def _entry(tables: list[Table], index: int, what: str) -> Table:
    if not 0 <= index < len(tables):
        raise FlatbufferError(f"there is no {what} {index}")
    return tables[index]
