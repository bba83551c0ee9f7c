"""The samples of an epoch, all in memory: half as recorded, half mirrored, all perturbed."""

import numpy as np
import torch
from torch import Tensor

from engines.body import BodyModel
from trainer.data.augment import AugmentConfig, RawRecords, mirror, perturb
from trainer.data.exact import LandmarkSource, with_landmark_source
from trainer.data.samples import Batch, encode

_CHUNK = 4096


class Pool:
    """Every training sample twice, straight and mirrored.

    It is a function of (seed, epoch) and the records, nothing else.
    """

    def __init__(
        self,
        records: RawRecords,
        body: BodyModel,
        config: AugmentConfig,
        seed: int,
        epoch: int,
        landmark_source: LandmarkSource = "rendered",
    ) -> None:
        """Augment and encode.

        Args:
            records: training split, as stored.
            body: that the records were made with.
            config: how far bodies and landmarks are moved.
            seed: of the run.
            epoch: counts how often the pool was made.
            landmark_source: which landmarks.
        """
        rng = np.random.default_rng([seed, epoch])
        count = len(records["rotvec"])
        chunks = np.array_split(np.arange(count), max(1, count // _CHUNK))
        rows = [{key: value[chunk] for key, value in records.items()} for chunk in chunks]
        straight = [perturb(row, body, config, rng) for row in rows]
        mirrored = [perturb(mirror(row), body, config, rng) for row in rows]
        encoded = [
            encode(with_landmark_source(part, body, landmark_source), body)
            for part in straight + mirrored
        ]
        self._samples = Batch(*(torch.cat(columns) for columns in zip(*encoded, strict=True)))

    @property
    def size(self) -> int:
        """Number of samples."""
        return self._samples.size

    def batch(self, rows: Tensor) -> Batch:
        """Select samples by number, below `size`."""
        return self._samples.rows(rows)
