"""What several test files share."""

import pytest

from engines.body import BodyModel


@pytest.fixture(scope="session")
def body() -> BodyModel:
    """The default body, loaded once."""
    return BodyModel.load()
