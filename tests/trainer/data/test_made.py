"""What a folder of samples says that it was made of."""

from pathlib import Path

import pytest

from engines.errors import PenumbraError
from trainer.data.made import read_made


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    assert read_made(tmp_path) == {}
    (tmp_path / "made.json").write_text('{"split": "tra')
    with pytest.raises(PenumbraError, match=r"made\.json: cannot be read"):
        read_made(tmp_path)
