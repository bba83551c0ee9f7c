"""The documented tables of stream and archive are those that the declaration makes."""

from pathlib import Path

import pytest

from realtime.stream.message import PersonMessage
from realtime.stream.wire import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES, TOPIC
from tests.support.paths import ROOT
from tests.support.stream_tables import archive_table, message_table, tables

WIRE, REALTIME = ROOT / "realtime/stream/README.md", ROOT / "realtime/README.md"


@pytest.mark.parametrize(
    ("page", "table"),
    [
        *((WIRE, table) for table in tables()),
        (REALTIME, message_table(PersonMessage)),
        (REALTIME, archive_table()),
    ],
)
def test_a_table_says_what_is_declared(page: Path, table: str) -> None:
    """`python -m tests.support.stream_tables` prints them all."""
    assert table in page.read_text()


def test_the_bounds_are_the_documented_ones() -> None:
    text = WIRE.read_text()
    assert f"{MAX_MESSAGE_BYTES >> 20} MiB" in text and f"{MAX_HEADER_BYTES >> 10} KiB" in text
    assert f"`{TOPIC.decode()}`" in text
