"""What people look at while a method trains: numbers and pictures in TensorBoard."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from trainer.data.samples import Batch
from trainer.evaluation.figures import hypotheses_figure
from trainer.evaluation.score import Scores, score
from trainer.methods.method import Losses, Method

_PICTURES = 6


class TrainingLogger:
    """Logs one run."""

    def __init__(self, run: Path, val: Batch) -> None:
        """Log to the folder `run`; `val` is what scores and pictures are made of."""
        self._val = val
        self._writer = SummaryWriter(str(run))

    def terms(self, step: int, terms: Losses) -> None:
        """Log the parts of the loss."""
        for name, value in terms.items():
            self._writer.add_scalar(f"train/{name}", value.item(), step)

    def scores(self, step: int, method: Method) -> Scores:
        """Log scores and pictures of a method, and return the scores."""
        scores = score(method, self._val)
        for name, value in dataclasses.asdict(scores).items():
            if value is not None:
                self._writer.add_scalar(f"val/{name}", value, step)
        picture = hypotheses_figure(
            method, self._val.rows(torch.arange(min(_PICTURES, self._val.size)))
        )
        self._writer.add_image(
            "val/samples", np.ascontiguousarray(picture[..., ::-1]), step, dataformats="HWC"
        )
        return scores
