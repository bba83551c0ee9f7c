"""A cube as a mesh."""

import numpy as np


def cube(center: tuple[float, float, float], size: float) -> tuple[np.ndarray, np.ndarray]:
    """A cube as 12 triangles, counter-clockwise seen from outside."""
    corners = (
        np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size / 2 + center
    )
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
