"""A dataset by its name, as it lies on the user's disk."""

from pathlib import Path

from engines.errors import PenumbraError
from trainer.datasets.human36m import read_h36m
from trainer.datasets.people import People
from trainer.datasets.prohmr import read_prohmr
from trainer.datasets.threedpw import read_3dpw

NAMES = ("3dpw", "h36m", "prohmr")


def open_dataset(name: str, root: Path, split: str, images: Path | None = None) -> People:
    """Read the people of a dataset; no picture is opened.

    Args:
        name: `3dpw`, `h36m`, or `prohmr` for any file in ProHMR's form.
        root: folder of the dataset, or its annotation file.
        split: which part; for `prohmr` the name of the file without `.npz`, where `root` is a
            folder.
        images: where the pictures' names start, if not at `root`.

    Raises:
        PenumbraError: the name or split is unknown, a file is missing, broken, unsafe or empty, or
            a column is missing.
    """
    if not root.exists():
        raise PenumbraError(f"--root {root} does not exist.")
    if name == "3dpw":
        return read_3dpw(root, split, images)
    if name == "h36m":
        return read_h36m(root, split, images)
    if name == "prohmr":
        path = root if root.is_file() else root / f"{split}.npz"
        return read_prohmr(path, images or path.parent)
    if name == "amass":
        raise PenumbraError(
            "--dataset amass has poses and no pictures, so nothing can be evaluated on it; list its files in a clips.csv and "
            "give them to `python -m trainer.mocap`."
        )
    raise PenumbraError(f"--dataset {name} is unknown; there are {', '.join(NAMES)}.")
