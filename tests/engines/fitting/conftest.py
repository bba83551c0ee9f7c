"""The skeleton of the default body in float64, as the references take it."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.kernels import Skeleton


@pytest.fixture(scope="session")
def skeleton(body: BodyModel) -> Skeleton:
    return Skeleton(body.J_template.astype(np.float32), body.J_shapedirs.astype(np.float32))
