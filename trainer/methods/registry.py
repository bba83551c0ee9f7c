"""Every method by name, with its configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from trainer.methods.cvae import CVAE, CVAEConfig
from trainer.methods.hmr import HMR, HMRConfig
from trainer.methods.humaniflow import HuManiFlow, HuManiFlowConfig
from trainer.methods.mdn import MDN, MDNConfig
from trainer.methods.method import Method, Priors, Supervision
from trainer.methods.mhentropy import MHEntropy, MHEntropyConfig
from trainer.methods.multibodies import MultiBodies, MultiBodiesConfig
from trainer.methods.prohmr import ProHMR, ProHMRConfig
from trainer.methods.spin import SPIN, SPINConfig
from trainer.model.encoder import EncoderConfig

MethodName = Literal[
    "hmr", "spin", "mdn", "cvae", "multibodies", "prohmr", "humaniflow", "mhentropy"
]
METHOD_NAMES: tuple[MethodName, ...] = get_args(MethodName)
"""In the order of the tables."""


@dataclass(frozen=True)
class MethodConfigs:
    """One configuration a method; only the chosen method's is used."""

    hmr: HMRConfig = field(default_factory=HMRConfig)
    spin: SPINConfig = field(default_factory=SPINConfig)
    mdn: MDNConfig = field(default_factory=MDNConfig)
    cvae: CVAEConfig = field(default_factory=CVAEConfig)
    multibodies: MultiBodiesConfig = field(default_factory=MultiBodiesConfig)
    prohmr: ProHMRConfig = field(default_factory=ProHMRConfig)
    humaniflow: HuManiFlowConfig = field(default_factory=HuManiFlowConfig)
    mhentropy: MHEntropyConfig = field(default_factory=MHEntropyConfig)


_CLASSES: dict[MethodName, Callable[..., Method]] = {
    "hmr": HMR,
    "spin": SPIN,
    "mdn": MDN,
    "cvae": CVAE,
    "multibodies": MultiBodies,
    "prohmr": ProHMR,
    "humaniflow": HuManiFlow,
    "mhentropy": MHEntropy,
}


def build(
    name: MethodName,
    supervision: Supervision,
    priors: Priors,
    configs: MethodConfigs,
    encoder: EncoderConfig,
) -> Method:
    """A fresh method."""
    return _CLASSES[name](supervision, priors, getattr(configs, name), encoder)
