"""Synthetic samples of validation subjects, on which every run of the live flow is scored."""

from engines.body import BodyModel
from trainer.data.samples import Batch
from trainer.live.config import LiveConfig
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.source import SyntheticSource

_SEED = 77


def validation_samples(config: LiveConfig, body: BodyModel) -> Batch:
    """Make the samples; they are the same for every run with the same settings.

    Raises:
        PenumbraError: if the poses are missing or do not fit.
    """
    poses = PoseBank.load(config.poses, "val", body)
    source = SyntheticSource(body, poses, config.synthetic, _SEED)
    return source.batch(0, config.evaluate_samples)
