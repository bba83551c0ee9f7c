"""Stand-ins for the objects of chumpy and scipy.sparse in a pickle, and the arrays they stand for.

A stand-in holds what the pickle says of its object, and does nothing with it. Neither chumpy, which
does not import on current Python, nor SciPy is needed.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from engines.pickle_objects import PickleError, Placeholder

MAX_DENSE_BYTES = 2**26
"""The largest sparse matrix that is made dense; SMPL's joint regressor has 1.3 MB."""


def to_array(value: Any) -> np.ndarray:
    """A dense array of numbers from an array or a stand-in.

    Raises:
        ValueError: there are no numbers in it, or those of a stand-in do not fit each other.
    """
    array = value.to_array() if isinstance(value, StandIn) else value
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise PickleError(f"holds a {type(value).__name__} where an array of numbers belongs")
    return array


class StandIn(Placeholder, ABC):
    """Takes the place of a foreign object: holds its state and does nothing with it."""

    def __init__(self, *_arguments: Any) -> None:
        """What the pickle passes to the class is dropped."""

    @abstractmethod
    def to_array(self) -> np.ndarray:
        """The array that the object stands for; a `PickleError` where its state makes none."""

    def part(self, name: str) -> np.ndarray:
        """An array of the state."""
        return to_array(self.field(name))

    def field(self, name: str) -> Any:
        if not isinstance(self.state, dict) or name not in self.state:
            raise PickleError(f"holds a {type(self).__name__} without {name}")
        return self.state[name]


class Chumpy(StandIn):
    """A `chumpy.Ch` that holds an array, or a `Select` of entries of one: all that SMPL has."""

    def to_array(self) -> np.ndarray:
        if isinstance(self.state, dict) and "x" in self.state:
            return self.part("x")
        values, chosen = self.part("a").ravel(), self.part("idxs")
        _check_indices(chosen, len(values))
        selected = values[chosen]
        return _reshaped(selected, self.state.get("preferred_shape", selected.shape))


class SparseColumns(StandIn):
    """A `scipy.sparse.csc_matrix`."""

    def to_array(self) -> np.ndarray:
        column = _expanded(self.part("indptr"), self.part("indices").size)
        return _dense(self.field("_shape"), self.part("indices"), column, self.part("data"))


class SparseRows(StandIn):
    """A `scipy.sparse.csr_matrix`."""

    def to_array(self) -> np.ndarray:
        row = _expanded(self.part("indptr"), self.part("indices").size)
        return _dense(self.field("_shape"), row, self.part("indices"), self.part("data"))


class SparseEntries(StandIn):
    """A `scipy.sparse.coo_matrix`; newer SciPy keeps `coords`, older `row` and `col`."""

    def to_array(self) -> np.ndarray:
        row, col = self._indices()
        return _dense(self.field("_shape"), row, col, self.part("data"))

    def _indices(self) -> tuple[np.ndarray, np.ndarray]:
        match self.state:
            case {"coords": (row, col)}:
                return to_array(row), to_array(col)
            case {"coords": _}:
                raise PickleError("holds a sparse matrix whose coords are not rows and columns")
        return self.part("row"), self.part("col")


def _reshaped(values: np.ndarray, shape: Any) -> np.ndarray:
    """The values in the shape that chumpy prefers."""
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise PickleError("holds a Chumpy whose preferred_shape is no shape")
    if len(shape) > 8 or math.prod(shape) != values.size:
        raise PickleError("holds a Chumpy whose preferred_shape does not fit its entries")
    return values.reshape(shape)


def _expanded(indptr: np.ndarray, count: int) -> np.ndarray:
    """The row (or column) of each entry, from where each row (or column) starts."""
    if indptr.ndim != 1 or indptr.dtype.kind not in "iu" or not len(indptr):
        raise PickleError("holds a sparse matrix whose indptr is no list of indices")
    # Compared, not subtracted: the differences of huge numbers overflow.
    if indptr[0] != 0 or indptr[-1] != count or (indptr[1:] < indptr[:-1]).any():
        raise PickleError("holds a sparse matrix whose indptr does not fit its entries")
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr.astype(np.int64)))


def _dense(shape: Any, row: np.ndarray, col: np.ndarray, data: np.ndarray) -> np.ndarray:
    """A matrix from its entries; those of the same place are added."""
    match shape:
        case (int() | np.integer() as rows, int() | np.integer() as cols) if min(rows, cols) > 0:
            rows, cols = int(rows), int(cols)
        case _:
            raise PickleError("holds a sparse matrix of an impossible shape")
    if rows * cols * data.itemsize > MAX_DENSE_BYTES:
        raise PickleError(f"holds a sparse matrix of {rows} x {cols}, which is too large")
    if data.ndim != 1 or row.shape != data.shape or col.shape != data.shape:
        raise PickleError("holds a sparse matrix with unequal numbers of values and indices")
    _check_indices(row, rows)
    _check_indices(col, cols)
    dense = np.zeros((rows, cols), data.dtype)
    np.add.at(dense, (row, col), data)
    return dense


def _check_indices(indices: np.ndarray, limit: int) -> None:
    if indices.dtype.kind not in "iu":
        raise PickleError(f"holds indices of type {indices.dtype}")
    if indices.size and not 0 <= indices.min() <= indices.max() < limit:
        raise PickleError(f"holds indices beyond {limit} entries")
