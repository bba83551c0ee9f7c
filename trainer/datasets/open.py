"""A dataset by its name, as it lies on the user's disk.

3DPW has its own reader (`trainer.datasets.threedpw`). Human3.6M (Ionescu et al., 2014) is read in
the preprocessed forms that people have (`trainer.datasets.npz_forms`): SPIN's own
`h36m_valid_protocol1.npz` and `h36m_valid_protocol2.npz` hold boxes and 3D joints only; files made
from the MoSh fits (`h36m_mosh_...`) hold SMPL pose and shape as well. None says what the camera is.
"""

from pathlib import Path

from engines.errors import PenumbraError
from trainer.datasets.npz_forms import read_preprocessed, read_prohmr
from trainer.datasets.people import People
from trainer.datasets.threedpw import read_3dpw

NAMES = ("3dpw", "h36m", "prohmr")
_H36M_PROTOCOL_2 = ("h36m_mosh_valid_p2.npz", "h36m_val_p2.npz", "h36m_valid_protocol2.npz")
_H36M_FILES = {
    "train": ("h36m_mosh_train.npz", "h36m_train.npz"),
    "p1": ("h36m_valid_protocol1.npz", "h36m_val.npz"),
    "p2": _H36M_PROTOCOL_2,
    "test": _H36M_PROTOCOL_2,
}
"""Names by split, those with SMPL labels first. The usual test split is protocol 2: S9 and S11 from
the frontal camera."""


def open_dataset(name: str, root: Path, split: str, images: Path | None = None) -> People:
    """Read the people of a dataset; no image is opened.

    Args:
        name: `3dpw`, `h36m`, or `prohmr` for any file in ProHMR's form.
        root: folder of the dataset, or its annotation file.
        split: which part; for `prohmr` the name of the file without `.npz`, where `root` is a
            folder.
        images: where the images' names start, if not at `root`.

    Raises:
        PenumbraError: the name or split is unknown, a file is missing, broken, unsafe or empty, or
            a column is missing.
    """
    if not root.exists():
        raise PenumbraError(f"root: {root} does not exist; check the path.")
    if name == "3dpw":
        return read_3dpw(root, split, images)
    if name == "h36m":
        return read_h36m(root, split, images)
    if name == "prohmr":
        path = root if root.is_file() else root / f"{split}.npz"
        return read_prohmr(path, images or path.parent)
    if name == "amass":
        raise PenumbraError(
            "dataset: amass has poses and no images, so nothing can be evaluated on it; list its"
            " files in a clips.csv and give them to `python -m trainer.mocap`."
        )
    raise PenumbraError(f"dataset: {name} is unknown; name one of {', '.join(NAMES)}.")


def read_h36m(root: Path, split: str, images: Path | None = None) -> People:
    """Read a split of Human3.6M.

    Args:
        root: folder with a preprocessed file, or an `.npz` file of ProHMR's or SPIN's form.
        split: train, p1, p2 or test (p2).
        images: where the images' names start; the folder of the file where None.

    Raises:
        PenumbraError: nothing of that kind is there, or the file is broken, empty or of another
            form.
    """
    if split not in _H36M_FILES:
        raise PenumbraError(
            f"split: {split} is not one of Human3.6M's; name one of {', '.join(_H36M_FILES)}."
        )
    if root.is_file():
        return read_preprocessed(root, images or root.parent)
    for name in _H36M_FILES[split]:
        if (root / name).is_file():
            return read_preprocessed(root / name, images or root)
    raise PenumbraError(
        f"root: {root} has none of {', '.join(_H36M_FILES[split])}; give the folder or the file"
        " itself."
    )
