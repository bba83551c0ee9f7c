"""What several test files share."""

import numpy as np
import pytest

from engines.body import BodyModel


@pytest.fixture(scope="session")
def body() -> BodyModel:
    """The default body, loaded once."""
    return BodyModel.load()


@pytest.fixture(scope="session")
def poses() -> tuple[np.ndarray, np.ndarray]:
    """A long clip and a short one; a clip of another split is missing between them. Nobody lies
    down.
    """
    rng = np.random.default_rng(0)
    rotvec = rng.normal(0, 0.3, (400, 24, 3))
    rotvec[:, 0] = 0
    return rotvec, np.repeat([2, 5], [390, 10])
