"""Rendered samples as a source of batches: a batch is a function of the seed and the step."""

from pathlib import Path

import numpy as np

from engines.body import BodyModel
from trainer.data.augment import AugmentConfig, mirror, perturb
from trainer.data.samples import Batch, encode, read


class RenderedSource:
    """Stored samples, perturbed anew in every step, with features `landmarks_2d`."""

    def __init__(self, folder: Path, body: BodyModel, config: AugmentConfig, seed: int) -> None:
        """Read a split's shards.

        Raises:
            PenumbraError: if there is no shard, one is damaged or shows another body.
        """
        self._records = read(folder, body)
        self._body, self._config, self._seed = body, config, seed

    @property
    def size(self) -> int:
        """Number of stored samples."""
        return len(self._records["rotvec"])

    def batch(self, step: int, count: int) -> Batch:
        """Draw samples with repetition: as recorded in even steps, mirrored in odd ones."""
        rng = np.random.default_rng([self._seed, step])
        rows = rng.integers(self.size, size=count)
        records = {key: value[rows] for key, value in self._records.items()}
        if step % 2:
            records = mirror(records)
        records = perturb(records, self._body, self._config, rng)
        return encode(records, self._body, features="landmarks_2d")
