"""Random numbers of one training step that depend neither on the steps before nor on how many
processes share the work.

A step's numbers are a function of (seed, step), so a run that was killed goes on as if nothing had
happened and no state of a generator has to be kept. Every process draws the whole batch's numbers
and takes its own rows.
"""

import numpy as np
import torch
from torch import Tensor


class StepRng:
    """The rng of one step, in one of `world` processes."""

    def __init__(
        self,
        seed: int,
        step: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        std: float = 1.0,
    ) -> None:
        """Seed the generators.

        Args:
            seed: of the run.
            step: number of the step.
            rank: of this process.
            world: number of processes.
            device: of the numbers.
            std: standard deviation of the normal numbers.
        """
        numbers = np.random.SeedSequence([seed, step]).generate_state(2, np.uint64)
        self._generator = torch.Generator().manual_seed(int(numbers[0]) >> 1)
        self._rows = np.random.default_rng(numbers[1])
        self.rank, self.world, self.device = rank, world, device
        self._std = std

    def normal(self, batch: int, *shape: int) -> Tensor:
        """Normal numbers (batch, *shape) with mean 0 for the rows of this process."""
        numbers = torch.randn(batch * self.world, *shape, generator=self._generator)
        return self._mine(self._std * numbers, batch)

    def uniform(self, batch: int, *shape: int) -> Tensor:
        """Numbers from [0, 1)."""
        return self._mine(torch.rand(batch * self.world, *shape, generator=self._generator), batch)

    def rows(self, count: int, batch: int) -> Tensor:
        """`batch` row numbers below `count`, with repetition, for this process."""
        return torch.from_numpy(self._rows.integers(count, size=batch * self.world))[
            self._slice(batch)
        ]

    def _mine(self, numbers: Tensor, batch: int) -> Tensor:
        return numbers[self._slice(batch)].to(self.device)

    def _slice(self, batch: int) -> slice:
        return slice(self.rank * batch, (self.rank + 1) * batch)
