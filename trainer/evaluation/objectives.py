"""The objectives of a fit by name, each from people in their images to estimates.

    smplify      a pose prior and landmarks, from the mean pose
    smplify-x    the same in the latent space of VPoser
    anchored     the flow's hypotheses, held by the flow, and a pose prior beside it where wanted

The first two know no flow, and no calibration was made for them: covariances are Laplace's.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.fitting.bodies import hypotheses_of
from engines.fitting.observation import limbs_of
from engines.fitting.smplify import BodyFitter, smplify, smplify_x
from engines.flow.model import FlowModel
from engines.priors.load import load_prior
from engines.priors.mixture import Mixture
from engines.priors.prior import Latent
from engines.rotations import exp_so3
from engines.types import LIMB_LANDMARKS, NUM_JOINTS, Landmarks
from trainer.evaluation.frame_estimator import FrameEstimator, ViewEstimate

Objective = Literal["smplify", "smplify-x", "anchored"]
DEFAULT_PRIOR: dict[str, str] = {
    "smplify": "gmm",
    "smplify-x": "vposer",
    "anchored": "none",
}
People = Sequence[tuple[Landmarks, Intrinsics]]
SEED = 19420718
_OTHERS = {12: 0, 15: 0, 22: 19, 23: 20, 10: 31, 11: 32}
"""Landmarks near joints that are no limb's: nose, index fingers, toes."""
_TORSO = (11, 12, 23, 24)


def open_objective(
    objective: Objective,
    prior: str | None,
    body: BodyModel,
    model: FlowModel | None,
    hypotheses: int,
) -> Callable[[People], list[ViewEstimate]]:
    """Open an objective.

    Args:
        objective: which.
        prior: name or file of the pose prior; that of `DEFAULT_PRIOR` when None.
        body: to fit.
        model: the flow, for what is anchored to it; the shipped one when None.
        hypotheses: K, in every estimate.

    Raises:
        PenumbraError: the objective needs another prior, or a model is missing.
    """
    name = DEFAULT_PRIOR[objective] if prior is None else prior
    if objective == "anchored":
        found = None if name == "none" else load_prior(name)
        estimator = FrameEstimator(model or FlowModel.load(), body, hypotheses, prior=found)
        return lambda people: [estimator(*one) for one in people]
    if name == "none":
        raise PenumbraError(f"prior: {objective} needs one; name it, or leave `prior` out.")
    loaded = load_prior(name)
    if objective == "smplify":
        fitter = smplify(body, loaded, mean_pose())
    elif isinstance(loaded, Latent):
        fitter = smplify_x(body, loaded)
    else:
        raise PenumbraError(
            f"prior: {objective} looks for a latent code, and {loaded.name} has none; take vposer."
        )
    return lambda people: fit_people(fitter, people, hypotheses)


def fit_people(fitter: BodyFitter, people: People, hypotheses: int) -> list[ViewEstimate]:
    """Fit bodies to landmarks, and draw hypotheses from what is left open."""
    found = fitter(limbs_of(people, fitter.config.landmarks))
    rng = np.random.default_rng(SEED)
    weights = np.full(hypotheses, 1.0 / hypotheses)
    estimates = []
    for image, (landmarks, _) in enumerate(people):
        moments = found.moments(image)
        bodies, log_q = found.sample(image, hypotheses, rng)
        drawn = hypotheses_of(fitter.skeleton, bodies, log_q, weights)
        visible = joint_visibility(landmarks.visibility)
        estimates.append(ViewEstimate(landmarks, drawn, moments.cov, visible, moments.distance_std))
    return estimates


def mean_pose() -> Float[np.ndarray, "24 3 3"]:
    """Return the mean of the shipped mixture, where SMPLify begins whatever its prior."""
    mixture = load_prior("gmm")
    assert isinstance(mixture, Mixture)
    rotvec = np.zeros((NUM_JOINTS, 3))
    rotvec[1:] = (mixture.weights @ mixture.means).reshape(-1, 3)
    return exp_so3(rotvec)


def joint_visibility(visibility: Float[np.ndarray, "33"]) -> Float[np.ndarray, "24"]:
    """Return the landmark network's visibility of joints; that of the torso where it has none."""
    near = {joint: landmark for landmark, joint in LIMB_LANDMARKS.items()} | _OTHERS
    joints = np.full(NUM_JOINTS, visibility[list(_TORSO)].mean())
    joints[list(near)] = visibility[list(near.values())]
    return joints
