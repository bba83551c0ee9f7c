"""Run the experiments on priors and write their tables and the page of bodies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.fitting.sequences.observations import Shape
from engines.flow.sampler import skeleton_of
from engines.priors.load import KINDS, load_prior
from engines.priors.motion.prior import MotionPrior
from engines.priors.prior import PosePrior
from engines.rotations import exp_so3
from engines.types import NUM_BETAS
from trainer.experiments import table
from trainer.experiments.generation import Generated, generate, measure
from trainer.experiments.motion import (
    COMPLETION,
    DENOISING,
    MotionConfig,
    MotionExperiment,
)
from trainer.experiments.page import page
from trainer.motion.poses import Poses
from trainer.priors.humor_data import MotionData, sole_heights
from trainer.priors.mixture import MixtureConfig, fit_mixture

_ON_PAGE = 8
_ROLLOUT = 60
"""Frames after which a body of HuMoR's motion is taken."""


@dataclass(frozen=True)
class PriorTableConfig:
    """How the priors are compared."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path = Path("runs/priors")
    """Folder of the table and the page of bodies."""
    names: tuple[str, ...] = tuple(KINDS)
    """Priors over poses."""
    humor: bool = True
    """Compare HuMoR too."""
    generated: int = 500
    """Bodies of each prior."""
    motion: MotionConfig = field(default_factory=MotionConfig)
    seed: int = 0


def compare_priors(config: PriorTableConfig) -> str:
    """Run everything; write `priors.md` and `generated.jpg`, and return the Markdown.

    Raises:
        PenumbraError: the poses cannot be read, or nothing can be written.
    """
    body = BodyModel.load()
    priors = {name: load_prior(name) for name in config.names}
    motion = MotionPrior.load() if config.humor else None
    errors = _motion_errors(config, body, priors, motion)
    generated, bodies = _generated(config, body, priors, motion)
    denoising = {task.name: errors[task.name] for task in DENOISING}
    completion = {task.name: errors[task.name] for task in COMPLETION}
    text = "\n\n".join(
        [
            "**Motion denoising, mean distance of the joints (cm)**",
            table.motion_table(denoising),
            table.DOCUMENT_DENOISING,
            "**Completion, mean distance of the joints that nothing is known of (cm)**",
            table.motion_table(completion),
            table.DOCUMENT_COMPLETION,
            "**Generated bodies**",
            table.generation_table(generated),
        ]
    )
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "priors.md").write_text(text + "\n")
    picture = config.out / "generated.jpg"
    if not cv2.imwrite(str(picture), page(body, bodies), [cv2.IMWRITE_JPEG_QUALITY, 85]):
        raise PenumbraError(f"out: cannot write {picture}; name another folder.")
    return text


def _motion_errors(
    config: PriorTableConfig,
    body: BodyModel,
    priors: Mapping[str, PosePrior],
    motion: MotionPrior | None,
) -> dict[str, dict[int, dict[str, float]]]:
    shape = Shape(skeleton_of(body), np.zeros(NUM_BETAS))
    experiment = MotionExperiment(config.motion, shape, sole_heights(body), priors, motion)
    validation = MotionData.load(config.poses, "val", body)
    test = MotionData.load(config.poses, "test", body)
    errors: dict[str, dict[int, dict[str, float]]] = {}
    for task in tqdm((*DENOISING, *COMPLETION), unit="task"):
        weights = experiment.choose_weights(validation, task)
        errors[task.name] = {
            frames: experiment.errors(test, task, frames, weights)
            for frames in config.motion.frames
        }
    return errors


def _generated(
    config: PriorTableConfig,
    body: BodyModel,
    priors: Mapping[str, PosePrior],
    motion: MotionPrior | None,
) -> tuple[dict[str, Generated], dict[str, Float[np.ndarray, "n 24 3 3"]]]:
    """Generate and measure; a mixture of half of the test subjects' clips is the judge."""
    poses, clip = Poses.load(config.poses).of("test")
    clips = np.unique(clip)
    judged = np.isin(clip, clips[::2])
    judge = fit_mixture(poses[judged][::5, 1:], MixtureConfig(), config.seed)
    real = exp_so3(poses[~judged][::5].astype(np.float32))
    rng = np.random.default_rng(config.seed)
    bodies = {"poses of test subjects": real[rng.choice(len(real), config.generated)]}
    bodies |= {name: generate(prior, config.generated, rng) for name, prior in priors.items()}
    if motion is not None:
        R, _ = motion.sample(config.generated, _ROLLOUT, rng)
        bodies["humor"] = R[:, -1].astype(np.float32)
    skeleton = skeleton_of(body)
    measured = {name: measure(R, skeleton, judge, real, rng) for name, R in bodies.items()}
    return measured, {table.NAMES.get(name, name): R[:_ON_PAGE] for name, R in bodies.items()}
