"""AMASS motion files (Mahmood et al., 2019): `poses`, `trans` and a frame rate in an `.npz`.

The world is z up. SMPL+H (156 numbers a frame) and SMPL-X (165) share SMPL's first 22 joints; 72 is
SMPL itself. The frame rate is `mocap_framerate`, in SMPL-X's files `mocap_frame_rate`. AMASS has no
images: `trainer.mocap` reads it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from engines.arrays import read_npz
from engines.errors import PenumbraError
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_JOINTS

_KNOWN_JOINTS = {72: 24, 156: 22, 165: 22}
"""How many of SMPL's joints lead the numbers of a frame."""
_RATES = ("mocap_framerate", "mocap_frame_rate")
_R_YUP_ZUP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


class AmassMotion(NamedTuple):
    """One file in a world that is y up."""

    rotvec: Float[np.ndarray, "T 24 3"]
    """SMPL axis-angle, radians; zero for the two hands where the file has fingers instead."""
    transl: Float[np.ndarray, "T 3"]
    """Where the body is, metres: SMPL's `transl` but for a constant, as the axes were turned about
    the origin and SMPL turns about the pelvis."""
    fps: float


def read_amass(path: Path, fps: float | None = None) -> AmassMotion:
    """Read a motion; `fps` overrules the rate that the file states.

    Raises:
        PenumbraError: the file is missing, broken, empty or no AMASS motion.
    """
    if not path.is_file():
        raise PenumbraError(f"{path}: there is no such motion capture file; check the path.")
    try:
        arrays = read_npz(path, ("poses", "trans", *_RATES))
    except ValueError as error:
        raise PenumbraError(
            f"{path}: not an .npz of plain arrays ({error}); give an AMASS motion file."
        ) from error
    missing = [key for key in ("poses", "trans") if key not in arrays]
    rate = fps or next((_rate(arrays[key], path) for key in _RATES if key in arrays), None)
    if missing or rate is None:
        raise PenumbraError(
            f"{path}: lacks {' and '.join(missing) or _RATES[0]}; give an AMASS motion file."
        )
    poses = arrays["poses"].astype(np.float64)
    trans = arrays["trans"].astype(np.float64)
    if poses.ndim != 2 or poses.shape[1] not in _KNOWN_JOINTS:
        raise PenumbraError(
            f"{path}: poses has shape {poses.shape}; AMASS has 72, 156 or 165 numbers a frame."
        )
    if trans.shape != (len(poses), 3) or not len(poses):
        raise PenumbraError(
            f"{path}: has {len(poses)} poses and trans of shape {trans.shape}; give an AMASS motion"
            " file."
        )
    known = _KNOWN_JOINTS[poses.shape[1]]
    rotvec = np.zeros((len(poses), NUM_JOINTS, 3))
    rotvec[:, :known] = poses[:, : 3 * known].reshape(-1, known, 3)
    rotvec[:, 0] = log_so3(_R_YUP_ZUP @ exp_so3(rotvec[:, 0]))
    return AmassMotion(rotvec, trans @ _R_YUP_ZUP.T, rate)


def _rate(value: np.ndarray, path: Path) -> float:
    if value.size != 1 or value.dtype.kind not in "fiu" or not value.item() > 0:
        raise PenumbraError(
            f"{path}: the frame rate '{value}' is not a positive number; give `fps`."
        )
    return float(value.item())
