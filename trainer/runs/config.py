"""What a run is asked to do, and how two runs differ."""

from collections.abc import Set
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainer.data.augment import AugmentConfig
from trainer.data.exact import LandmarkSource
from trainer.data.noise import NoiseConfig
from trainer.methods.method import Supervision
from trainer.methods.registry import MethodConfigs, MethodName
from trainer.model.encoder import EncoderConfig

_CHANGES_NOTHING = {
    "run",
    "accelerator",
    "devices",
    "nodes",
    "threads",
    "evaluate_every",
    "evaluate_samples",
    "checkpoint_every",
}
"""Settings that a result does not depend on."""


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run."""

    method: MethodName = "mhentropy"
    supervision: Supervision = "3d"
    dataset: Path = Path("runs/dataset")
    """Folder of `trainer.synthesize`, with its splits `train` and `val`."""
    body: Path | None = None
    """Body that the dataset was made with; the default body when None."""
    landmark_source: LandmarkSource = "rendered"
    """Landmarks of renderings as the network finds them, or exact ones; a flow that learnt from
    exact ones is for comparing methods, not for images.
    """
    run: Path = Path("runs/first")
    start: Path | None = None
    """A run whose averaged weights this one starts from."""
    unlabelled: Path | None = None
    """Folder of `trainer.video_landmarks`: unlabelled real video, whose visible 2D landmarks
    supervise as under `2d-vis`.
    """
    unlabelled_batch: int = 64
    unlabelled_weight: float = 0.1
    steps: int = 12_000
    batch: int = 256
    """Samples per step, over all processes."""
    learning_rate: float = 6e-4
    warmup: int = 300
    weight_decay: float = 0.02
    clip: float = 20.0
    """Largest gradient norm."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that are evaluated and shipped."""
    epoch: int = 2000
    """Steps after which the samples are perturbed anew."""
    seed: int = 0
    accelerator: str = "cpu"
    devices: int = 1
    """Processes per node."""
    nodes: int = 1
    threads: int = 1
    """Threads of torch. NumPy makes the batches in the same process: set OPENBLAS_NUM_THREADS=1, or
    the two compete for the cores.
    """
    evaluate_every: int = 2000
    evaluate_samples: int = 1000
    """Validation samples that are scored during training."""
    checkpoint_every: int = 500
    train_shards: int | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    methods: MethodConfigs = field(default_factory=MethodConfigs)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def differences(one: TrainConfig, other: TrainConfig, but: Set[str] = frozenset()) -> list[str]:
    """Names of the settings that two runs do not share, where that could change what they learn.

    Args:
        one, other: configurations.
        but: names that may differ.
    """
    if one.method != other.method:
        return ["method"]
    mine, theirs = _what_matters(one), _what_matters(other)
    return [name for name in mine if mine[name] != theirs[name] and name not in but]


def _what_matters(config: TrainConfig) -> dict[str, object]:
    values = asdict(config)
    paths = {name: value.resolve() for name, value in values.items() if isinstance(value, Path)}
    own = {"methods": values["methods"][config.method]}
    return {
        name: value
        for name, value in (values | paths | own).items()
        if name not in _CHANGES_NOTHING
    }
