"""From what the landmark network said to a vector that every method builds on.

All methods share this encoder, so that a comparison compares their heads. Beside the landmarks it
can see the landmark network's own feature map, through a copy of that network's last stage that
goes on learning.
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
    map: bool = False
    """Whether it also sees the feature map."""


class Encoder(nn.Module):
    """A residual MLP over the landmark features, and over the last stage's output where there is a
    map.
    """

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
        if config.map:
            from trainer.model.last_stage import LastStage

            self.stage = LastStage.load()
            self.from_map = nn.Linear(self.stage.size, config.width)
            nn.init.zeros_(self.from_map.weight)
            nn.init.zeros_(self.from_map.bias)

    def forward(
        self, features: Float[Tensor, "B F"], map: Float[Tensor, "B 4 4 288"]
    ) -> Float[Tensor, "B W"]:
        """Encode a batch of pictures; an all-zero map counts as missing, and without `config.map`
        it is not looked at.
        """
        h = self.first(features)
        if self.config.map:
            h = h + self._from_map(map if map.dtype == features.dtype else map.to(features.dtype))
        for block in self.blocks:
            h = h + block(h)
        return nn.functional.silu(self.norm(h))

    def _from_map(self, map: Float[Tensor, "B 4 4 288"]) -> Float[Tensor, "B W"]:
        """What the last stage makes of the maps that are there, nothing for the others."""
        there = (map != 0).flatten(1).any(-1)
        if not self.training:
            return there[:, None] * self.from_map(self.stage(map))
        rows = there.nonzero()[
            :, 0
        ]  # half of a training batch has none: do not compute what is thrown away
        out = map.new_zeros(len(map), self.config.width)
        return out.index_put((rows,), self.from_map(self.stage(map[rows])))
