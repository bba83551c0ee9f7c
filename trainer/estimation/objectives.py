"""The objectives of a fit by name, each from people in their images to estimates.

    smplify      a pose prior and landmarks, from the mean pose or the flow's hypotheses
    smplify-x    the same in the latent space of VPoser
    anchored     the flow's hypotheses, held by the flow, and a pose prior beside it where wanted

The first two know no flow, unless they begin with its hypotheses. Their covariances are Laplace's,
which are calibrated for the default body and prior (`engines/assets/calibration`).
"""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.fitting.charts import Decoder
from engines.fitting.smplify import SmplifyConfig, smplify, smplify_x
from engines.flow.model import FlowModel
from engines.flow.sampler import skeleton_of
from engines.priors.load import load_prior
from engines.priors.mixture import Mixture
from engines.rotations import exp_so3
from engines.types import NUM_JOINTS
from engines.uncertainty import CovarianceCalibration
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.landmark_fit import FLOW_STARTS, LandmarkFitter, flow_starts
from trainer.estimation.prediction import (
    People,
    Prediction,
    Predictor,
    ViewEstimate,
    shipped_calibration,
)

Objective = Literal["smplify", "smplify-x", "anchored"]
Starts = Literal["mean", "flow"]
DEFAULT_PRIOR: dict[str, str] = {
    "smplify": "gmm",
    "smplify-x": "vposer",
    "anchored": "none",
}


@runtime_checkable
class Fit(Predictor, Protocol):
    """An objective that is open."""

    calibration: CovarianceCalibration | None
    """Of its covariances; None where none was made."""

    def __call__(self, people: People) -> list[ViewEstimate]:
        """Fit people, each alone; calibrated where there is a calibration."""
        ...


class Anchored:
    """The flow's hypotheses, fitted to landmarks."""

    def __init__(self, estimator: FrameEstimator) -> None:
        """Take what estimates single people."""
        self._estimator = estimator
        self.calibration = estimator.calibration

    def __call__(self, people: People) -> list[ViewEstimate]:
        """Fit people, each alone."""
        return [self._estimator(*one) for one in people]

    def predictions(self, people: People) -> list[Prediction]:
        """Fit people without the calibration."""
        return self._estimator.predictions(people)


def open_objective(
    objective: Objective,
    prior: str | None,
    body: BodyModel,
    model: FlowModel | None,
    hypotheses: int,
    starts: Starts = "mean",
    calibrate: bool = True,
    config: SmplifyConfig | None = None,
) -> Fit:
    """Open an objective.

    Args:
        objective: which.
        prior: name or file of the pose prior, or none; that of `DEFAULT_PRIOR` when None.
        body: to fit.
        model: the flow, for what needs it; the shipped one when None.
        hypotheses: K, in every estimate.
        starts: where a fit to landmarks alone begins.
        calibrate: whether to calibrate, where a calibration was made.
        config: of smplify and smplify-x; the default one when None.

    Raises:
        PenumbraError: the objective needs another prior, or a model is missing.
    """
    name = DEFAULT_PRIOR[objective] if prior is None else prior
    loaded = None if name == "none" else load_prior(name)
    if objective == "anchored":
        flow = model or FlowModel.load()
        return Anchored(FrameEstimator(flow, body, hypotheses, prior=loaded, calibrate=calibrate))
    if objective == "smplify":
        fitter = smplify(body, loaded, mean_pose(), config)
    elif isinstance(loaded, Decoder):
        fitter = smplify_x(body, loaded, config)
    else:
        raise PenumbraError(
            f"prior: {objective} looks for a latent code, and {name} has none; take vposer."
        )
    begin = None
    if starts == "flow":
        drawn = max(hypotheses, FLOW_STARTS - 1)  # one of the starts is a flip
        begin = flow_starts(
            FrameEstimator(model or FlowModel.load(), body, drawn), skeleton_of(body)
        )
    usual = name == DEFAULT_PRIOR[objective] and body.name == BodyModel.load().name
    usual = usual and config in (None, SmplifyConfig())
    calibration = shipped_calibration(objective, starts) if usual and calibrate else None
    return LandmarkFitter(fitter, hypotheses, begin, calibration)


def check_objective(
    objective: Objective | Literal["humor"], prior: str | None, starts: Starts, fit: bool = True
) -> None:
    """Refuse options that an objective does not have.

    Raises:
        PenumbraError: one would be ignored.
    """
    if not fit and (objective, prior, starts) != ("anchored", None, "mean"):
        raise PenumbraError(
            "fit: the flow alone has no objective, prior or starts; leave them out, or --no-fit."
        )
    if objective in ("anchored", "humor") and starts != "mean":
        raise PenumbraError(
            f"starts: {objective} begins with the flow's hypotheses anyway; leave it out."
        )
    if objective == "humor" and prior is not None:
        raise PenumbraError("prior: humor has its own; leave `prior` out.")


def mean_pose() -> Float[np.ndarray, "24 3 3"]:
    """Return the mean of the shipped mixture, where SMPLify begins whatever its prior."""
    mixture = load_prior("gmm")
    assert isinstance(mixture, Mixture)
    rotvec = np.zeros((NUM_JOINTS, 3))
    rotvec[1:] = (mixture.weights @ mixture.means).reshape(-1, 3)
    return exp_so3(rotvec)
