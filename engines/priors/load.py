"""Priors from files: the shipped ones by name, or a file of one's own.

A file is `NAME.npz`, read by the bounded reader of `engines.arrays` like the gravity network: no
other dependency, and a damaged or hostile file is refused before anything is allocated. Its array
`kind` says which prior it holds. Networks are kept in float16 and evaluated in float32.
"""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from engines.arrays import read_npz
from engines.errors import PenumbraError
from engines.priors.distance_field import Nrdf, PoseNdf
from engines.priors.flow import FlowPrior
from engines.priors.mixture import Mixture
from engines.priors.prior import PosePrior
from engines.priors.vposer import VPoserPrior

KINDS: dict[str, Callable[[dict[str, np.ndarray]], PosePrior]] = {
    "gmm": Mixture.of,
    "vposer": VPoserPrior.of,
    "ndf": PoseNdf.of,
    "nrdf": Nrdf.of,
    "flow": FlowPrior.of,
}
"""Of each kind, how a prior is made of a file's arrays."""
MAX_BYTES = 2**24
"""The largest has half a megabyte."""


def load_prior(name: str | Path) -> PosePrior:
    """Read a prior.

    Args:
        name: one of `KINDS`, for the shipped one; or a file that `python -m trainer.prior` wrote.

    Raises:
        PenumbraError: there is no such prior, or its file is damaged or something else.
    """
    if name in KINDS:
        with as_file(files("engines") / "assets" / "priors" / f"{name}.npz") as shipped:
            return read_prior(Path(shipped))
    path = Path(name)
    if path.suffix != ".npz":
        raise PenumbraError(
            f"prior: '{name!s}' is unknown; choose none, {', '.join(KINDS)} or a file .npz that "
            "python -m trainer.prior wrote."
        )
    return read_prior(path)


def read_prior(path: Path) -> PosePrior:
    """Read a prior from a file; see `load_prior`."""
    try:
        arrays = read_npz(path, max_bytes=MAX_BYTES)
        kind = str(arrays["kind"])
        if kind not in KINDS:
            raise ValueError(f"its kind {kind[:20]!r} is none of {', '.join(KINDS)}")
        return KINDS[kind](arrays)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PenumbraError(
            f"prior: {path} cannot be read ({error}); make it with python -m trainer.prior."
        ) from error
