"""Fixtures of the tests of the stream."""

from collections.abc import Iterator

import pytest

from realtime.stream.publisher import Publisher
from tests.support.publishing import ANY_PORT


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT) as publisher:
        yield publisher
