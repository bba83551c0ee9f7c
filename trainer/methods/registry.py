"""Every method by name, with its configuration."""

from dataclasses import dataclass, field
from typing import Literal

from trainer.encoder import EncoderConfig
from trainer.methods.hmr import HMR, HMRConfig
from trainer.methods.method import Known, Method, Supervision
from trainer.methods.mhentropy import MHEntropy, MHEntropyConfig

Name = Literal["mhentropy", "hmr"]


@dataclass(frozen=True)
class MethodConfigs:
    """One configuration a method; only the chosen method's is used."""

    mhentropy: MHEntropyConfig = field(default_factory=MHEntropyConfig)
    hmr: HMRConfig = field(default_factory=HMRConfig)


_CLASSES: dict[Name, type[Method]] = {"mhentropy": MHEntropy, "hmr": HMR}


def build(name: Name, supervision: Supervision, known: Known, configs: MethodConfigs, encoder: EncoderConfig) -> Method:
    """A fresh method."""
    return _CLASSES[name](supervision, known, getattr(configs, name), encoder)
