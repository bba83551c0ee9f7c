"""Find images on which the live system is wrong although it is sure, for the model card.

    python -m trainer.failures --out engines/assets/failures.jpg

Scenes of ambiguous CMU are drawn until there are enough images; those with the largest errors in
units of the calibrated standard deviation are shown, below one median case. Left to right: what the
landmark network saw, the hypotheses as the camera sees them, and from the side.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from engines.body import BodyModel
from engines.covariance import std_from_cov
from engines.errors import PenumbraError, check_at_least
from engines.flow.model import FlowModel
from engines.outputs import check_output
from engines.types import LIMB_JOINTS
from trainer.command import start
from trainer.data.augment import RawRecords, joints_in_camera
from trainer.data.rendered import SampleRenderer
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.prediction import ViewEstimate
from trainer.evaluation.figures import figure_row
from trainer.evaluation.live_errors import observation
from trainer.evaluation.view_scores import without_common_distance
from trainer.motion.poses import Poses
from trainer.render.scenes import AMBIGUOUS, draw_scene

_HYPOTHESES = 100
_DRAWN = 21
"""The best estimate and this many less one others."""


@dataclass(frozen=True)
class FailuresConfig:
    """What to search, and how much to show."""

    model: Path | None = None
    """Exported flow; the shipped one when None."""
    body: Path | None = None
    """That it was trained for; the default body when None."""
    out: Path = Path("engines/assets/failures.jpg")
    poses: Path = Path("runs/poses.npz")
    images: int = 300
    """Searched."""
    shown: int = 4
    seed: int = 77


def render_samples(
    config: FailuresConfig, body: BodyModel
) -> tuple[RawRecords, list[UInt8[np.ndarray, "S S 3"]]]:
    """Render samples of test subjects, and keep the crops that the landmark network saw."""
    poses, clip = Poses.load(config.poses).of("test")
    renderer = SampleRenderer.open(body)
    rng = np.random.default_rng(config.seed)
    records, images = [], []
    with tqdm(total=config.images, unit="image") as bar:
        while len(records) < config.images:
            rendered = renderer.sample_and_image(draw_scene(poses, clip, AMBIGUOUS, rng), rng)
            if rendered is not None:
                records.append(rendered[0])
                images.append(rendered[1])
                bar.update()
    return {key: np.stack([record[key] for record in records]) for key in records[0]}, images


def normalised_error(estimate: ViewEstimate, target: Float[np.ndarray, "24 3"]) -> float:
    """Mean over limb joints of the error in units of the standard deviation, the distance apart."""
    limbs, best = list(LIMB_JOINTS), estimate.joints
    cov, ray = estimate.cov[limbs], best[0] / np.linalg.norm(best[0])
    error = without_common_distance((target - best)[limbs], cov, ray)
    return float((np.linalg.norm(error, axis=-1) / std_from_cov(cov)).mean())


def crop_from_camera(records: RawRecords, row: int) -> Float[np.ndarray, "3 3"]:
    """Return the homography from camera coordinates to px of a sample's crop."""
    focal, (width, height) = float(records["focal"][row]), records["size"][row]
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return np.vstack([records["crop_from_image"][row].astype(float), [0.0, 0.0, 1.0]]) @ K


def main(config: FailuresConfig) -> None:
    """Write the image.

    Raises:
        PenumbraError: there are no poses, no images are asked for, the model does not fit, or the
            result cannot be written.
    """
    check_at_least(1, config, "images")
    check_output(config.out, "out", ".jpg", force=True)
    body = BodyModel.load(config.body)
    estimator = FrameEstimator(FlowModel.load(config.model), body, _HYPOTHESES)
    records, images = render_samples(config, body)
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    estimates = [estimator(*observation(records, i)) for i in range(len(images))]
    errors = [normalised_error(*pair) for pair in zip(estimates, joints, strict=True)]
    order = np.argsort(errors)[::-1].tolist()
    rows = []
    for i in [order[len(order) // 2], *order[: config.shown]]:
        bodies = estimates[i].hypotheses.joints[:_DRAWN].astype(float)
        visible = records["joint_visible"][i].astype(bool)
        figure = figure_row(bodies, joints[i], visible, crop_from_camera(records, i))
        rows.append(np.hstack([images[i], figure]))
    if not cv2.imwrite(str(config.out), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 82]):
        raise PenumbraError(f"out: cannot write {config.out}; name a file in another folder.")
    print(
        f"{config.out}: a median case, then the {config.shown} largest normalised errors of"
        f" {len(images)}"
    )


if __name__ == "__main__":
    start(main, FailuresConfig)
