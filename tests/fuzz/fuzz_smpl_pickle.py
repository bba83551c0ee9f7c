"""Pickles of SMPL and 3DPW."""

import pickle
import tempfile
from pathlib import Path

import numpy as np

from engines.errors import PenumbraError
from engines.pickle_stand_ins import to_array
from engines.smpl_pickle import read_smpl_pickle
from tests.support.pickle_payloads import hostile

MAX_MB = 256

_path = Path(tempfile.mkdtemp()) / "smpl.pkl"


def seeds() -> list[bytes]:
    """Arrays, and objects of chumpy and SciPy, in every protocol; short hostile pickles."""
    array = np.arange(6.0).reshape(2, 3)
    plain = {"a": array, "b": [array, {"c": (1, 2.5, "d", None, True)}], "e": np.float32(1)}
    chumpy = (
        b"}U\x01acchumpy.ch\nCh\n)R}U\x01xK\x01sbs"
        b"U\x01bcscipy.sparse.csc\ncsc_matrix\n)R}(U\x06_shapeK\x01K\x02\x86U\x04dataK\x01ubs."
    )
    short = [data for data in hostile().values() if len(data) < 500]
    return [chumpy, *(pickle.dumps(plain, protocol) for protocol in range(5)), *short]


def read(data: bytes) -> None:
    """Read, and make arrays of what was read."""
    _path.write_bytes(data)
    try:
        content = read_smpl_pickle(_path)
    except PenumbraError:
        return
    for value in content.values():
        try:
            to_array(value)
        except ValueError:
            continue
