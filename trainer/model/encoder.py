"""From what the landmark network said to a vector that every method builds on.

All methods share this encoder, so that a comparison compares their heads.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from engines.flow.features import NUM_FEATURES


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder."""

    width: int = 512
    blocks: int = 3
    """Residual blocks."""
    dropout: float = 0.1


class Encoder(nn.Module):
    """A residual MLP over the landmark features."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(NUM_FEATURES, config.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(config.width),
                nn.Linear(config.width, config.width),
                nn.SiLU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.width, config.width),
            )
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B W"]:
        """Encode the landmark features of a batch of images."""
        h = self.first(features)
        for block in self.blocks:
            h = h + block(h)
        return nn.functional.silu(self.norm(h))
