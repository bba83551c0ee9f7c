"""Which of the two usual preprocessed forms an `.npz` has: ProHMR's or SPIN's. They differ in the
unit of `scale`.
"""

from pathlib import Path

from engines.errors import PenumbraError
from trainer.datasets import prohmr, spin
from trainer.datasets.people import People
from trainer.datasets.table import Table


def read_npz(path: Path, images: Path) -> People:
    """Read a file of either form; the pictures' names start at `images`.

    Raises:
        PenumbraError: the file is missing, broken or empty, has columns of both forms or of
            neither.
    """
    marks = {prohmr.read_prohmr: (*prohmr.LABELS, *prohmr.KEYPOINTS), spin.read_spin: spin.MARKS}
    table = Table.read(path, ("imgname",), tuple(key for keys in marks.values() for key in keys))
    forms = [read for read, keys in marks.items() if any(key in table for key in keys)]
    if len(forms) != 1:
        raise PenumbraError(
            f"{path} has columns of {'both' if forms else 'neither'} of the known forms, ProHMR's (body_pose, ...) and SPIN's "
            "(pose, S, part, ...), so the unit of its boxes is unknown."
        )
    return forms[0](path, images)
