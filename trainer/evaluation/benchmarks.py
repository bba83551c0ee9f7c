"""The benchmarks clear and ambiguous CMU, as `trainer.ambiguous` stores them."""

from pathlib import Path

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.data.exact import LandmarkSource, with_landmark_source
from trainer.data.samples import Batch, encode, read

CLEAR = Path("runs/clear/test")
AMBIGUOUS = Path("runs/ambiguous/test")


def read_benchmarks(
    clear: Path, ambiguous: Path, body: BodyModel, landmark_source: LandmarkSource = "rendered"
) -> dict[str, Batch]:
    """Read the samples of both benchmarks, by name.

    Args:
        clear: folder of shards without crops and occluders.
        ambiguous: folder of shards with them.
        body: of the methods.
        landmark_source: which landmarks the methods have learnt from.

    Raises:
        PenumbraError: one is not there, or shows another body.
    """
    check_benchmarks(clear, ambiguous)
    records = {"CMU": read(clear, body), "ambiguous CMU": read(ambiguous, body)}
    if landmark_source == "exact":
        records = {
            f"exact {name}": with_landmark_source(one, body, landmark_source)
            for name, one in records.items()
        }
    return {name: encode(one, body) for name, one in records.items()}


def check_benchmarks(clear: Path = CLEAR, ambiguous: Path = AMBIGUOUS) -> None:
    """See that both benchmarks are there.

    Raises:
        PenumbraError: one is not.
    """
    for name, folder, option in (("clear", clear, "--clear "), ("ambiguous", ambiguous, "")):
        if not any(folder.glob("*.npz")):
            raise PenumbraError(
                f"{name}: {folder} holds no benchmark; make it: python -m trainer.ambiguous"
                f" --no-tracked {option}--out {folder.parent}"
            )
