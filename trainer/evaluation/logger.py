"""TensorBoard logs of a training: parts of the loss, scores, and figures of hypotheses."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from trainer.data.samples import Batch
from trainer.evaluation.figures import hypotheses_figure
from trainer.evaluation.score import Scores, score
from trainer.methods.method import Losses, Method

_IMAGES = 6


class TrainingLogger:
    """Logs one run; a context manager, at whose end all of it is in the file."""

    def __init__(self, run: Path, val: Batch) -> None:
        """Log to the folder `run`; scores and figures are made of the samples `val`."""
        self._val = val
        self._writer = SummaryWriter(str(run))

    def __enter__(self) -> "TrainingLogger":
        """Return the logger."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is still in memory."""
        self._writer.close()

    def losses(self, step: int, losses: Losses) -> None:
        """Log the parts of the loss."""
        for name, value in losses.items():
            self._writer.add_scalar(f"train/{name}", value.item(), step)

    def scores(self, step: int, method: Method) -> Scores:
        """Log scores and figures of a method, and return the scores."""
        scores = score(method, self._val)
        for name, value in dataclasses.asdict(scores).items():
            if value is not None:
                self._writer.add_scalar(f"val/{name}", value, step)
        shown = self._val.rows(torch.arange(min(_IMAGES, self._val.size)))
        rgb = np.ascontiguousarray(hypotheses_figure(method, shown)[..., ::-1])
        self._writer.add_image("val/hypotheses", rgb, step, dataformats="HWC")
        return scores
