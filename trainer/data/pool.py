"""The pairs of an epoch, all in memory: half as they were seen or nearly so, half mirrored,
perturbed anew every epoch.
"""

import numpy as np
import torch
from torch import Tensor

from engines.body import BodyModel
from trainer.data.augment import AugmentConfig, RawRecords, mirror, perturb
from trainer.data.exact import LandmarkSource, with_landmark_source
from trainer.data.samples import Batch, encode

_CHUNK = 4096


class Pool:
    """Every training pair twice, straight and mirrored. A function of (seed, epoch) and the data,
    nothing else.
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
            raw: training pairs as they are stored.
            body: the one that they show.
            config: how far truth and landmarks are moved.
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
        """How many pairs there are to choose from."""
        return self._samples.size

    def batch(self, rows: Tensor) -> Batch:
        """Some pairs, by row number below `size`."""
        return self._samples.rows(rows)
