"""Human3.6M (Ionescu et al., 2014) in the preprocessed forms that people have: SPIN's or ProHMR's
`.npz`.

SPIN's own `h36m_valid_protocol1.npz` and `h36m_valid_protocol2.npz` hold boxes and 3D joints only;
files made from the MoSh fits (`h36m_mosh_...`) hold SMPL pose and shape as well. None says what the
camera is.
"""

from pathlib import Path

from engines.errors import PenumbraError
from trainer.datasets.people import People
from trainer.datasets.preprocessed import read_npz

_PROTOCOL_2 = ("h36m_mosh_valid_p2.npz", "h36m_val_p2.npz", "h36m_valid_protocol2.npz")
FILES = {
    "train": ("h36m_mosh_train.npz", "h36m_train.npz"),
    "p1": ("h36m_valid_protocol1.npz", "h36m_val.npz"),
    "p2": _PROTOCOL_2,
    "test": _PROTOCOL_2,
}
"""Names by split, those with SMPL labels first. The usual test split is protocol 2: S9 and S11 from
the frontal camera.
"""


def read_h36m(root: Path, split: str, images: Path | None = None) -> People:
    """Read a split.

    Args:
        root: folder with one of `FILES`, or an `.npz` file of ProHMR's or SPIN's form.
        split: train, p1, p2 or test (p2).
        images: where the pictures' names start; the folder of the file where None.

    Raises:
        PenumbraError: nothing of that kind is there, or the file is broken, empty or of another
            form.
    """
    if split not in FILES:
        raise PenumbraError(f"--split {split} is not one of Human3.6M's: {', '.join(FILES)}.")
    if root.is_file():
        return read_npz(root, images or root.parent)
    for name in FILES[split]:
        if (root / name).is_file():
            return read_npz(root / name, images or root)
    raise PenumbraError(
        f"--root {root} has none of {', '.join(FILES[split])}; give the folder or the file itself."
    )
