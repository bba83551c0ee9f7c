"""Statistics of hypotheses: the entropy, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from engines.body import BodyModel
from engines.flow.statistics import entropy
from tests.support.random_hypotheses import around


@pytest.mark.parametrize(("log_q", "nats"), [([100.0, -1.0, -3.0], 2.0), ([-5.0], 5.0)])
def test_the_centre_is_no_sample_unless_it_is_alone(
    body: BodyModel, log_q: list[float], nats: float
) -> None:
    hypotheses, _ = around(body, len(log_q), 0)
    assert entropy(replace(hypotheses, log_q=np.array(log_q))) == pytest.approx(nats)
