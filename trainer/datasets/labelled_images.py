"""Samples made of a dataset's labelled images by the real landmark network.

    people = open_dataset("3dpw", root, "test")
    detected = detect_people(people, open_landmarker(), BodyModel.load(path_of_converted_smpl))
    samples = encode(detected.records, body, joints_cam=detected.joints_cam)

`trainer.datasets.ground_truth` says what is taken from the labels.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from tqdm import tqdm

from engines.blazepose.models import MIN_SCORE
from engines.blazepose.roi import MARGIN
from engines.blazepose.tracker import FindLandmarks
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import Landmarks, Roi
from trainer.data.augment import RawRecords
from trainer.datasets.ground_truth import GroundTruth, PelvisSource
from trainer.datasets.people import People

_SCORE_SLACK = 0.05
"""The second detection may be this much less certain than the first: its region is the better
one."""


@dataclass(frozen=True)
class DetectedPeople:
    """Records of the M people of a dataset whom the landmark network finds."""

    records: RawRecords
    """M rows in each array, as in a file of `trainer.data.rendered_shards`."""
    rows: Int[np.ndarray, "M"]
    """Which row of `People` each is."""
    joints_cam: Float[np.ndarray, "M 24 3"]
    """The dataset's own joints, camera frame, metres; NaN for people of whom one is missing, and
    for all on the default body."""
    gendered: int
    """How many have a shape that belongs to a gender's SMPL model, which may not be the one that is
    given."""
    pelvis_sources: tuple[PelvisSource, ...]
    """M times where the pelvis comes from."""
    unlabelled: int
    """How many were skipped because their pose and shape are unknown."""
    undetected: int
    """How many were skipped because the landmark network found no person."""

    def summary(self) -> str:
        """Describe in one line what is scored and what is not."""
        counts = Counter(self.pelvis_sources).most_common()
        sources = ", ".join(f"{count} {source}" for source, count in counts)
        own = int(np.isfinite(self.joints_cam).all((1, 2)).sum())
        return (
            f"{len(self.rows)} people; {self.unlabelled} without SMPL labels and {self.undetected}"
            f" whom the landmark network did not find left out; pelvis from: {sources}; joints of"
            f" {own} are the dataset's own; shapes of {self.gendered} belong to a male or female"
            " SMPL"
        )


def detect_people(
    people: People, landmarker: FindLandmarks, body: BodyModel | None = None
) -> DetectedPeople:
    """Run the landmark network on every person whose pose and shape are known.

    Args:
        people: of a dataset.
        landmarker: the real one (`engines.blazepose.landmarker.open_landmarker`).
        body: the user's converted SMPL model; None for the default body in its mean shape.

    Raises:
        PenumbraError: an image is missing or cannot be read, or nothing is left.
    """
    ground_truth = GroundTruth.of(people, body)
    labelled = np.flatnonzero(people.has_smpl)
    if not len(labelled):
        raise PenumbraError(
            f"{people.source}: none of its {people.count} people has SMPL labels; give a file that"
            " has pose and shape."
        )
    rows, records, sources = [], [], []
    for row in tqdm(labelled.tolist(), unit="image", desc=people.source.stem):
        image = _read_image(people.images[row])
        found = detect_in_box(image, people.center[row], float(people.side[row]), landmarker)
        if found.score < MIN_SCORE:
            continue
        record, source = ground_truth.record(row, found, (image.shape[1], image.shape[0]))
        rows.append(row)
        records.append(record)
        sources.append(source)
    if not records:
        raise PenumbraError(
            f"{people.source}: the landmark network finds no person in its images; check its boxes."
        )
    stacked = {key: np.stack([record[key] for record in records]) for key in records[0]}
    return DetectedPeople(
        records=stacked,
        rows=np.array(rows),
        joints_cam=ground_truth.own_joints[rows] + stacked["pelvis"][:, None],
        gendered=_count_gendered(people, rows) if body is not None else 0,
        pelvis_sources=tuple(sources),
        unlabelled=people.count - len(labelled),
        undetected=len(labelled) - len(records),
    )


def detect_in_box(
    image: UInt8[np.ndarray, "h w 3"],
    center: Float[np.ndarray, "2"],
    side: float,
    landmarker: FindLandmarks,
) -> Landmarks:
    """Detect the person in a box (px) twice, the second time in the region that the first suggests.

    The live system does so from its second frame on; boxes stand upright and have another margin
    than the network's regions. The second detection counts unless it is much less certain, as when
    it slipped to another person.
    """
    first, region = landmarker(image, Roi(np.asarray(center, np.float64), MARGIN * side, 0.0))
    if first.score < MIN_SCORE:
        return first
    second, _ = landmarker(image, region)
    return second if second.score >= first.score - _SCORE_SLACK else first


def _count_gendered(people: People, rows: list[int]) -> int:
    """How many have a known gender."""
    return sum(people.gender[row] != "" for row in rows) if people.gender else 0


def _read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    if not path.is_file():
        raise PenumbraError(f"{path}: there is no such image; check `root` and `images`.")
    # Datasets count pixels as they are stored, whatever the file says about the camera's
    # orientation.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise PenumbraError(f"{path}: the image cannot be read; is it broken?")
    return image.astype(np.uint8, copy=False)
