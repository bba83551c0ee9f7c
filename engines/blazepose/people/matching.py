"""The cheapest assignment of what was found to who is tracked."""

from functools import cache

import numpy as np
from jaxtyping import Float

FORBIDDEN = np.inf
"""Cost of a pair that must not be."""


def assign(cost: Float[np.ndarray, "tracks found"], unmatched: float) -> list[tuple[int, int]]:
    """Return the pairs (track, found) that cost least in all, each row and column used once.

    It is exact. It goes through the rows with a table of the columns that are taken, which for the
    few people of an image takes less time than to import a library.

    Args:
        cost: of each pair; `FORBIDDEN` where it must not be.
        unmatched: cost of a track without a match; a pair that costs more is not made.
    """
    rows, columns = cost.shape

    @cache
    def best(row: int, taken: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        if row == rows:
            return 0.0, ()
        rest, pairs = best(row + 1, taken)
        choice = rest + unmatched, pairs
        for column in range(columns):
            price = float(cost[row, column])
            if taken >> column & 1 or price > unmatched:
                continue
            rest, pairs = best(row + 1, taken | 1 << column)
            if rest + price < choice[0]:
                choice = rest + price, ((row, column), *pairs)
        return choice

    return list(best(0, 0)[1])
