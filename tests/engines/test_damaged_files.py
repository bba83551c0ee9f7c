"""Files of others in which any array is something else: they are refused with a sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calib.dataset import CalibrationDataset
from engines.body_file import read_body_file
from engines.errors import PenumbraError
from engines.gravity.network import GravityNetwork
from engines.priors.load import KINDS, read_prior
from engines.priors.motion.prior import MotionPrior
from tests.support.paths import ROOT
from tests.support.random_errors import simulate

ASSETS = ROOT / "engines" / "assets"
READERS: dict[str, Callable[[Path], object]] = {
    **{f"priors/{kind}.npz": read_prior for kind in KINDS},
    "priors/humor.npz": MotionPrior.load,
    "gravity.npz": GravityNetwork.load,
    "body.npz": read_body_file,
    "errors.npz": lambda path: CalibrationDataset.load(path, "fit"),
}
OTHERS = {
    "scalar": np.array(1.0, np.float32),
    "two": np.ones(2, np.float32),
    "none": np.zeros(0, np.float32),
    "text": np.array("x"),
}
MAY_BE = {"sigma:scalar", "weight:scalar", "bound:scalar", "scale:scalar", "version:scalar"} | {
    f"{name}:{how}" for name in ("data", "strata") for how in OTHERS
}
"""What is a scalar, or a text of any kind, in one of the files."""


@pytest.mark.parametrize("name", READERS)
def test_an_array_that_is_something_else_is_refused(tmp_path: Path, name: str) -> None:
    source = ASSETS / name
    if name == "errors.npz":
        source = tmp_path / name
        simulate(np.ones((24, 2)), np.ones((24, 2)), count=8).save(source)
    with np.load(source) as file:
        arrays = dict(file)
    READERS[name](source)
    path = tmp_path / "damaged.npz"
    for array in arrays:
        for how, value in OTHERS.items():
            np.savez(path, **arrays | {array: value})
            try:
                READERS[name](path)
                assert f"{array}:{how}" in MAY_BE
            except PenumbraError as error:
                assert str(path) in str(error)
