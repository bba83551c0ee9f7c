"""Where a model is wrong although it is sure: pictures for the model card.

    python -m trainer.failures --run runs/mine --out engines/assets/failures.jpg

Scenes of ambiguous CMU are drawn until there are enough pictures; the largest errors in units of
the promised standard deviation are shown, below one ordinary case. Left to right: what the landmark
network saw, the hypotheses as the camera sees them, and from the side.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS
from trainer.ambiguous import AMBIGUOUS
from trainer.command import start
from trainer.data.rng import StepRng
from trainer.data.samples import Batch, encode
from trainer.evaluation.figures import samples_against_truth
from trainer.evaluation.metrics import live_moments, same_distance
from trainer.methods.method import Method
from trainer.motion.poses import Poses
from trainer.render.scenes import draw
from trainer.runs.folder import load_config, load_method
from trainer.synthesize import SceneRenderer


@dataclass(frozen=True)
class FailuresConfig:
    """What to look at, and how much to show."""

    run: Path
    out: Path = Path("engines/assets/failures.jpg")
    poses: Path = Path("runs/poses.npz")
    pictures: int = 300
    shown: int = 4
    seed: int = 77


def paint(config: FailuresConfig, body: BodyModel) -> tuple[Batch, list[np.ndarray]]:
    """Batch of test subjects and the crops that they come from."""
    poses, clip = Poses.load(config.poses).of("test")
    painter, rng = SceneRenderer.open(body), np.random.default_rng(config.seed)
    records, pictures = [], []
    while len(records) < config.pictures:
        seen = painter.pair_and_picture(draw(poses, clip, AMBIGUOUS, rng), rng)
        if seen is not None:
            records.append(seen[0])
            pictures.append(seen[1])
    raw = {key: np.stack([record[key] for record in records]) for key in records[0]}
    pairs = encode(raw, body, with_map=True)
    return pairs._replace(map=pairs.map.float()), pictures


@torch.no_grad()
def surprise(method: Method, pairs: Batch, seed: int) -> Float[Tensor, "N"]:
    """Mean over limb joints of the error in units of the promised standard deviation."""
    joints = method.priors.joints(pairs, method.draw(pairs, 100, StepRng(seed, 0)).bodies)
    cov = live_moments(joints).cov
    error = (same_distance(pairs.joints[:, None], joints[:, 0])[:, 0] - joints[:, 0]).norm(dim=-1)
    std = (cov.diagonal(dim1=-2, dim2=-1).sum(-1) + 1e-5).sqrt()
    return (error / std)[:, LIMB_JOINTS].mean(-1)


def main(config: FailuresConfig) -> None:
    """Draw the picture.

    Raises:
        PenumbraError: if there is no such run, there are no poses, or the picture cannot be
            written.
    """
    method = load_method(config.run)
    pairs, pictures = paint(config, BodyModel.load(load_config(config.run).body))
    order = surprise(method, pairs, config.seed).argsort(descending=True)
    chosen = torch.cat([order[len(order) // 2][None], order[: config.shown]])
    figures = samples_against_truth(method, pairs.rows(chosen))
    side = np.vstack([pictures[i] for i in chosen.tolist()])
    if not cv2.imwrite(str(config.out), np.hstack([side, figures]), [cv2.IMWRITE_JPEG_QUALITY, 82]):
        raise PenumbraError(
            f"--out: cannot write {config.out}; name a .jpg file in a folder that is there."
        )
    print(
        f"{config.out}: an ordinary case, then the {config.shown} most surprising of {len(pictures)}"
    )


if __name__ == "__main__":
    start(main, FailuresConfig)
