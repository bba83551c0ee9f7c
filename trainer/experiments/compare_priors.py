"""Run the experiments on priors and write their tables and the page of bodies."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

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
from trainer.experiments.fitting import (
    ABLATION,
    FROM_MEAN,
    REFINEMENT,
    FittingConfig,
    fit_tables,
)
from trainer.experiments.generation import Generated, generate, measure
from trainer.experiments.motion import (
    COMPLETION,
    DENOISING,
    SMOOTHNESS,
    MotionConfig,
    MotionExperiment,
)
from trainer.experiments.page import page
from trainer.experiments.results import Results, sha256_of_assets
from trainer.motion.poses import Poses
from trainer.priors.humor_data import MotionData, sole_heights
from trainer.priors.mixture import MixtureConfig, fit_mixture

_ON_PAGE = 8
_ROLLOUT = 60
"""Frames after which a body of HuMoR's motion is taken."""


Part = Literal["motion", "generation", "fitting"]


@dataclass(frozen=True)
class PriorTableConfig:
    """How the priors are compared."""

    parts: tuple[Part, ...] = ("motion", "generation", "fitting")
    """Which experiments; what `out` keeps of motion and fitting is not computed again."""
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
    fitting: FittingConfig = field(default_factory=FittingConfig)
    seed: int = 0


def compare_priors(config: PriorTableConfig) -> str:
    """Run experiments; write `priors.md`, and `generated.jpg` if any bodies were generated.

    Returns:
        The Markdown.

    Raises:
        PenumbraError: poses, recordings or what `out` keeps cannot be read, or nothing can be
            written.
    """
    if "fitting" in config.parts:
        config.fitting.check()
    body = BodyModel.load()
    priors = {name: load_prior(name) for name in config.names}
    motion = MotionPrior.load() if config.humor else None
    config.out.mkdir(parents=True, exist_ok=True)
    text: list[str] = []
    if "motion" in config.parts:
        text += _motion_text(_motion_errors(config, body, priors, motion))
    if "generation" in config.parts:
        generated, bodies = _generated(config, body, priors, motion)
        text += ["**Generated bodies**", table.generation_table(generated)]
        picture = config.out / "generated.jpg"
        if not cv2.imwrite(str(picture), page(body, bodies), [cv2.IMWRITE_JPEG_QUALITY, 85]):
            raise PenumbraError(f"out: cannot write {picture}; name another folder.")
    if "fitting" in config.parts:
        text += _fitting_text(fit_tables(config.fitting, config.out))
    joined = "\n\n".join(text)
    (config.out / "priors.md").write_text(joined + "\n")
    return joined


def _motion_text(errors: Mapping[str, dict[int, dict[str, float]]]) -> list[str]:
    denoising = {task.name: errors[task.name] for task in DENOISING}
    completion = {task.name: errors[task.name] for task in COMPLETION}
    return [
        "**Motion denoising, mean distance of the joints (cm)**",
        table.motion_table(denoising),
        table.SEMINAR_DENOISING,
        "**Completion, mean distance of the joints that nothing is known of (cm)**",
        table.motion_table(completion),
        table.SEMINAR_COMPLETION,
    ]


def _fitting_text(found: table.Fitted) -> list[str]:
    return [
        "**Fitting to images from the mean pose, PA-MPJPE of the best estimate, best of all (mm)**",
        table.fitting_table(found, [row.name for row in FROM_MEAN]),
        "**The same as a refinement of the shipped flow**",
        table.fitting_table(found, [row.name for row in REFINEMENT]),
        "**Ablation of SMPLify-X**",
        table.fitting_table(found, [row.name for row in ABLATION]),
        table.SEMINAR_FITTING,
        table.SEMINAR_ABLATION,
    ]


def _motion_errors(
    config: PriorTableConfig,
    body: BodyModel,
    priors: Mapping[str, PosePrior],
    motion: MotionPrior | None,
) -> dict[str, dict[int, dict[str, float]]]:
    """Fit motion with every prior; a prior that `motion.json` has all lengths of is not run."""
    others = [config.poses, *(Path(name) for name in config.names if name.endswith(".npz"))]
    options = asdict(config.motion) | {"assets": sha256_of_assets(others)}
    results = Results(config.out / "motion.json", options)
    shape = Shape(skeleton_of(body), np.zeros(NUM_BETAS))
    soles, lengths = sole_heights(body), config.motion.frames
    methods = [SMOOTHNESS, *priors, *(["humor"] if motion is not None else [])]
    data: dict[str, MotionData] = {}
    errors: dict[str, dict[int, dict[str, float]]] = {}
    for task in tqdm((*DENOISING, *COMPLETION), unit="task"):
        cells = {
            (length, method): f"{task.name}, {length} frames: {method}"
            for length in lengths
            for method in methods
        }
        missing = {method for (_, method), cell in cells.items() if results.get(cell) is None}
        found: dict[int, dict[str, float]] = {}
        if missing:
            data = data or {
                split: MotionData.load(config.poses, split, body) for split in ("val", "test")
            }
            experiment = MotionExperiment(
                *(config.motion, shape, soles),
                {name: prior for name, prior in priors.items() if name in missing},
                motion if "humor" in missing else None,
            )
            weights = experiment.choose_weights(data["val"], task)
            for length in lengths:
                found[length] = experiment.errors(data["test"], task, length, weights)
        errors[task.name] = {
            length: {
                method: results.cell(
                    cells[length, method],
                    lambda found=found, at=length, name=method: {"cm": found[at][name]},
                )["cm"]
                for method in methods
            }
            for length in lengths
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
