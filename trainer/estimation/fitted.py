"""The last step of the live system for samples of a benchmark: hypotheses fitted to landmarks.

The landmarks are those that the network was given, so they come from the features, and everything
happens in the view.
"""

import numpy as np
import torch
from jaxtyping import Float

from engines.fitting.fit import HypothesisFitter
from engines.fitting.observation import Observation, landmark_sigma, observed
from engines.flow.features import LAYOUT
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_LANDMARKS, Hypotheses
from trainer.data.samples import Batch
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import SkeletonTensors, camera_from_pelvis, view_joints


@torch.no_grad()
def fit_bodies(
    fitter: HypothesisFitter, skeleton: SkeletonTensors, batch: Batch, bodies: BodySamples
) -> BodySamples:
    """Fit every image's hypotheses, of which number 0 is the best estimate.

    Args:
        fitter: for as many hypotheses as there are.
        skeleton: of the same body.
        batch: B images.
        bodies: drawn for them.
    """
    joints = view_joints(skeleton, batch.R_anchor, batch.half_size, bodies)
    images = [_fit_image(fitter, batch, bodies, joints, i) for i in range(batch.size)]
    return BodySamples(*(torch.stack(columns) for columns in zip(*images, strict=True)))


def _fit_image(
    fitter: HypothesisFitter, batch: Batch, bodies: BodySamples, joints: torch.Tensor, i: int
) -> BodySamples:
    drawn = BodySamples(*(part[i].contiguous() for part in bodies))
    R_anchor, half_size = batch.R_anchor[i].double().numpy(), batch.half_size[i].double()
    count = len(drawn.betas)
    rotvec = drawn.rotvec.double().numpy()
    rotvec[:, 0] = log_so3(R_anchor @ exp_so3(rotvec[:, 0]))
    hypotheses = Hypotheses(
        rotvec.astype(np.float32),
        drawn.betas.float().numpy(),
        np.zeros((count, 3), np.float32),
        joints[i].float().numpy(),
        np.zeros(count, np.float32),
        np.full(count, 1.0 / count, np.float32),
    )
    seen = _observation(fitter, batch.features[i].numpy(), float(half_size))
    fitted = fitter.fit(hypotheses, seen)
    if fitted is None:
        return drawn
    moved = fitted.hypotheses
    rotvec = moved.rotvec.astype(np.float64)
    rotvec[:, 0] = log_so3(R_anchor.T @ exp_so3(rotvec[:, 0]))
    pelvis = torch.from_numpy(moved.joints[:, 0]).double()
    parts = (torch.from_numpy(rotvec), torch.from_numpy(moved.betas))
    camera = camera_from_pelvis(pelvis, half_size.expand(count))
    return BodySamples(*(part.to(drawn.betas.dtype) for part in (*parts, camera)))


def _observation(
    fitter: HypothesisFitter, features: Float[np.ndarray, "F"], half_size: float
) -> Observation:
    """Read the landmarks back from the features, in the view."""
    points = features[LAYOUT["points"]].reshape(NUM_LANDMARKS, 2)
    visibility = 0.5 * (features[LAYOUT["visibility"]] + 1.0)
    inside = features[LAYOUT["inside"]] > 0
    config = fitter.config
    sigma = landmark_sigma(half_size, np.full(NUM_LANDMARKS, np.nan), config)
    return observed(points * half_size, inside, visibility, sigma, config.min_visibility)
