"""What all tests share: shapes are checked at run time, and what takes long is made once."""

import signal

import numpy as np
import pytest
from jaxtyping import install_import_hook

import tests.support.typecheck
from tests.support.paths import ROOT

PACKAGES = ("engines", "calib", "realtime", "trainer")


def checked_modules() -> list[str]:
    """Every module of ours but the Warp kernels, whose annotations are Warp's own types."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name for name in names if not name.endswith("__init__") and ".kernels." not in name]


# A shell that starts the tests in the background has them ignore Ctrl+C, and so would every process
# that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before the first import of a module that is checked.
install_import_hook(checked_modules(), f"{tests.support.typecheck.__name__}.checked")

from engines.body import BodyModel  # noqa: E402


@pytest.fixture(scope="session")
def body() -> BodyModel:
    """The default body, loaded once."""
    return BodyModel.load()


@pytest.fixture(scope="session")
def poses() -> tuple[np.ndarray, np.ndarray]:
    """A long clip and a short one; a clip of another split lies between them. Nobody lies down."""
    rng = np.random.default_rng(0)
    rotvec = rng.normal(0, 0.3, (400, 24, 3))
    rotvec[:, 0] = 0
    return rotvec, np.repeat([2, 5], [390, 10])
