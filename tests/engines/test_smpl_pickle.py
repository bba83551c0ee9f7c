"""Pickles of arrays are read; no pickle runs anything, crashes, or takes more than is stated."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.smpl_pickle import read_smpl_pickle, to_array
from tests.support.paths import ROOT
from tests.support.pickle_payloads import payloads


@pytest.mark.parametrize("name", list(payloads(Path("x"))))
def test_payloads_are_refused_and_do_not_run(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pkl"
    path.write_bytes(payloads(marker)[name])
    with pytest.raises(PenumbraError, match="does not need"):
        read_smpl_pickle(path)
    assert not marker.exists()


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    """Without this, the test above could pass because its payloads are broken."""
    marker = tmp_path / "marker"
    pickle.loads(payloads(marker)["inside a file"])
    assert marker.exists()
