"""What a fit of a motion leaves open: Laplace's approximation around the sequence it found.

The Hessian of the solver's normal equations (`solver.py`) is a band A with a border B and a corner
C. Its inverse is full, but only its blocks of single frames are needed, and their covariance with
what all frames share:

    S^-1 = (C - B^T A^-1 B)^-1                       of what is shared
    (A^-1)_tt + X_t S^-1 X_t^T    with X = A^-1 B    of frame t
    -X_t S^-1                                        between the two

A band that links s frames is block tridiagonal in blocks of s frames. With A_ij these blocks, the
blocks (A^-1)_ii follow without the rest of the inverse (selected inversion; Takahashi, Fagan and
Chin, 1973, for the blocks of a chain the same as Rauch, Tung and Striebel's smoother, 1965):

    D_0 = A_00        G_i = D_i^-1 A_i,i+1        D_i+1 = A_i+1,i+1 - A_i+1,i G_i
    Z_last = D_last^-1                Z_i = D_i^-1 + G_i Z_i+1 G_i^T
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_solve_banded, cholesky_banded

from engines.fitting.sequences.sequence import FRAME_DIM, BodySequence, SequenceResiduals
from engines.fitting.sequences.solver import LEAST_DIAGONAL, NormalEquations, normal_equations


@dataclass(frozen=True)
class SequenceCovariance:
    """Covariances of a sequence's coordinates, a frame at a time."""

    frames: Float[np.ndarray, "T 75 75"]
    """Of each frame's coordinates."""
    between: Float[np.ndarray, "T 75 G"]
    """Of each frame's coordinates and what is shared."""
    shared: Float[np.ndarray, "G G"]

    def of(
        self, by_frame: Float[np.ndarray, "T n 75"], by_shared: Float[np.ndarray, "T n G"]
    ) -> Float[np.ndarray, "T n n"]:
        """Return the covariance of n numbers of each frame, by their derivatives."""
        mixed = by_frame @ self.between @ by_shared.swapaxes(-1, -2)
        return (
            by_frame @ self.frames @ by_frame.swapaxes(-1, -2)
            + mixed
            + mixed.swapaxes(-1, -2)
            + by_shared @ self.shared @ by_shared.swapaxes(-1, -2)
        )


def sequence_covariance(
    sequence: BodySequence, residuals: Sequence[SequenceResiduals]
) -> SequenceCovariance:
    """Approximate the posterior around a sequence that was found.

    Args:
        sequence: where the solver left it.
        residuals: what it should agree with.
    """
    return covariance_of(normal_equations([one.at(sequence) for one in residuals], sequence))


def covariance_of(equations: NormalEquations) -> SequenceCovariance:
    """Invert the Hessian as far as it is needed.

    Raises:
        scipy.linalg.LinAlgError: it is not positive.
    """
    band = equations.band.copy()
    band[0] += LEAST_DIAGONAL
    count, shared = band.shape[1] // FRAME_DIM, equations.border.shape[1]
    frames = inverse_blocks(band, FRAME_DIM)
    if not shared:
        return SequenceCovariance(frames, np.zeros((count, FRAME_DIM, 0)), np.zeros((0, 0)))
    factor = (cholesky_banded(band, lower=True, check_finite=False), True)
    X = cho_solve_banded(factor, equations.border, check_finite=False)
    of_shared = np.linalg.inv(equations.corner - equations.border.T @ X)
    X = X.reshape(count, FRAME_DIM, shared)
    between = -X @ of_shared
    return SequenceCovariance(frames - between @ X.swapaxes(-1, -2), between, of_shared)


def inverse_blocks(band: Float[np.ndarray, "W N"], dim: int) -> Float[np.ndarray, "T d d"]:
    """Return the diagonal blocks of the inverse of a positive band matrix.

    Args:
        band: the matrix in the lower form of LAPACK, band[i - j, j] = A[i, j].
        dim: d, the size of a block; N = T d.
    """
    width, total = band.shape
    size = max(dim, -(-(width - 1) // dim) * dim)  # a link reaches no further than the next block
    blocks = -(-total // size)
    diagonal, above = _block_tridiagonal(band, size, blocks)
    inverse, gains = [np.linalg.inv(diagonal[0])], []
    for i in range(blocks - 1):
        gains.append(inverse[i] @ above[i])
        inverse.append(np.linalg.inv(diagonal[i + 1] - above[i].T @ gains[i]))
    found = [inverse[-1]]
    for before, gain in zip(inverse[-2::-1], gains[::-1], strict=True):
        found.append(before + gain @ found[-1] @ gain.T)
    each = size // dim
    split = np.stack(found[::-1]).reshape(blocks, each, dim, each, dim)
    frames = np.arange(each)
    return split[:, frames, :, frames].swapaxes(0, 1).reshape(-1, dim, dim)[: total // dim]


def _block_tridiagonal(
    band: Float[np.ndarray, "W N"], size: int, blocks: int
) -> tuple[Float[np.ndarray, "b s s"], Float[np.ndarray, "c s s"]]:
    """Cut a band into blocks on the diagonal and above it; filled up with the identity."""
    width, total = band.shape
    diagonal = np.tile(np.eye(size), (blocks, 1, 1))
    above = np.zeros((max(blocks - 1, 0), size, size))
    for offset in range(width):
        column = np.arange(total - offset)
        value = band[offset, : total - offset]
        block, place = column // size, column % size
        inside = place + offset < size
        b, p, v = block[inside], place[inside], value[inside]
        diagonal[b, p + offset, p] = v
        diagonal[b, p, p + offset] = v
        b, p, v = block[~inside], place[~inside], value[~inside]
        above[b, p, p + offset - size] = v
    return diagonal, above
