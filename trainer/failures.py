"""Find images on which a model is wrong although it is sure, for the model card.

    python -m trainer.failures --run runs/mine --out engines/assets/failures.jpg

Scenes of ambiguous CMU are drawn until there are enough images; those with the largest errors in
units of the predicted standard deviation are shown, below one median case. Left to right: what the
landmark network saw, the hypotheses as the camera sees them, and from the side.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS
from trainer.command import start
from trainer.data.rendered import SampleRenderer
from trainer.data.rng import StepRng
from trainer.data.samples import Batch, encode
from trainer.evaluation.figures import hypotheses_figure
from trainer.evaluation.metrics import published_moments, same_distance
from trainer.methods.method import Method
from trainer.motion.poses import Poses
from trainer.render.scenes import AMBIGUOUS, draw_scene
from trainer.runs.folder import load_config, load_method

_HYPOTHESES = 100
_FLOOR_M2 = 1e-5
"""Added to the predicted variance of a joint, square metres."""


@dataclass(frozen=True)
class FailuresConfig:
    """What to search, and how much to show."""

    run: Path
    out: Path = Path("engines/assets/failures.jpg")
    poses: Path = Path("runs/poses.npz")
    images: int = 300
    """Searched."""
    shown: int = 4
    seed: int = 77


def render_samples(
    config: FailuresConfig, body: BodyModel
) -> tuple[Batch, list[UInt8[np.ndarray, "S S 3"]]]:
    """Render samples of test subjects, and keep the crops that the landmark network saw."""
    poses, clip = Poses.load(config.poses).of("test")
    renderer = SampleRenderer.open(body)
    rng = np.random.default_rng(config.seed)
    records, images = [], []
    while len(records) < config.images:
        rendered = renderer.sample_and_image(draw_scene(poses, clip, AMBIGUOUS, rng), rng)
        if rendered is not None:
            records.append(rendered[0])
            images.append(rendered[1])
    stacked = {key: np.stack([record[key] for record in records]) for key in records[0]}
    return encode(stacked, body), images


@torch.no_grad()
def normalised_error(method: Method, samples: Batch, seed: int) -> Float[Tensor, "N"]:
    """Mean over limb joints of the error in units of the predicted standard deviation."""
    hypotheses = method.draw(samples, _HYPOTHESES, StepRng(seed, 0))
    joints = method.priors.joints(samples, hypotheses.bodies)
    cov = published_moments(joints).cov
    error = (same_distance(samples.joints[:, None], joints[:, 0])[:, 0] - joints[:, 0]).norm(dim=-1)
    std = (cov.diagonal(dim1=-2, dim2=-1).sum(-1) + _FLOOR_M2).sqrt()
    return (error / std)[:, LIMB_JOINTS].mean(-1)


def main(config: FailuresConfig) -> None:
    """Write the image.

    Raises:
        PenumbraError: there is no such run, there are no poses, or the image cannot be written.
    """
    method = load_method(config.run)
    samples, images = render_samples(config, BodyModel.load(load_config(config.run).body))
    order = normalised_error(method, samples, config.seed).argsort(descending=True)
    median = order[len(order) // 2][None]
    chosen = torch.cat([median, order[: config.shown]])
    figure = hypotheses_figure(method, samples.rows(chosen))
    crops = np.vstack([images[i] for i in chosen.tolist()])
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 82]
    if not cv2.imwrite(str(config.out), np.hstack([crops, figure]), jpeg):
        raise PenumbraError(
            f"--out: cannot write {config.out}; name a .jpg file in a folder that is there."
        )
    print(
        f"{config.out}: a median case, then the {config.shown} largest normalised errors of"
        f" {len(images)}"
    )


if __name__ == "__main__":
    start(main, FailuresConfig)
