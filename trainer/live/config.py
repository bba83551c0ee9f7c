"""What a run of the live flow is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.augment import AugmentConfig
from trainer.live.jitter import JitterConfig
from trainer.model.anchored_flow import AnchoredFlowConfig
from trainer.synthetic.config import SyntheticConfig


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the objective, means over images."""

    likelihood: float = 1.0
    """Negative log density of the true body."""
    center: float = 100.0
    """Distance of the centre's joints to the true ones, metres, pelvises aligned."""
    reprojection: float = 20.0
    """Distance of the centre's visible joints in the image, in half sizes of the person."""
    anchor: float = 2.0
    """Squared Frobenius distance of the anchor to the true orientation."""
    visible: float = 4.0
    """Cross-entropy of each joint's visibility."""


@dataclass(frozen=True)
class LiveConfig:
    """The settings of one run."""

    run: Path = Path("runs/live")
    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    body: Path | None = None
    """The default body when None."""
    rendered: Path | None = None
    """Folder of `trainer.synthesize`'s training shards, which are mixed in: only they show what the
    network really returns for occluded limbs.
    """
    rendered_share: float = 0.2
    landmark_bank: Path | None = None
    """What the network really returned: made by `python -m trainer.landmark_bank`."""
    start: Path | None = None
    """A run whose averaged weights this one starts from."""
    steps: int = 100_000
    minutes: float | None = None
    """Time after which to stop, whatever `steps` says; the learning rate then follows the clock."""
    batch: int = 1024
    learning_rate: float = 1e-3
    warmup: int = 500
    weight_decay: float = 0.01
    clip: float = 20.0
    """Largest gradient norm."""
    ema: float = 0.9995
    """Decay of the averaged weights, which are the ones that are evaluated and shipped."""
    seed: int = 0
    threads: int = 1
    """Threads of torch. NumPy works in the same process: set OPENBLAS_NUM_THREADS=1."""
    evaluate_every: int = 2000
    evaluate_samples: int = 1000
    """Synthetic samples of validation subjects that are scored during training."""
    checkpoint_every: int = 250
    flow: AnchoredFlowConfig = field(default_factory=AnchoredFlowConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Of rendered samples."""
    jitter: JitterConfig = field(default_factory=JitterConfig)
    """Of all samples' features."""
