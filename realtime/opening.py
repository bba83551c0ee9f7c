"""Open what a run needs between its source and its outputs: the camera model and the pipeline."""

import logging

import numpy as np

from calib.camera import load_T_world_cam
from engines.blazepose.people.tracker import open_people_tracker
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.fitting.settings import FitConfig
from engines.flow.model import FlowModel
from engines.flow.sampler import open_sampler
from engines.gravity.network import GravityNetwork
from engines.priors.load import load_prior
from engines.types import LandmarkNetwork
from realtime import demo
from realtime.capture.sources import Source
from realtime.config import RunConfig
from realtime.following import Follower
from realtime.inputs import camera_of
from realtime.pipeline import MIN_SAMPLES, Pipeline
from realtime.smoothing import SmoothingConfig
from realtime.stream.encode import StreamInfo, stream_calibration
from realtime.world.estimator import WorldConfig, WorldEstimator

log = logging.getLogger(__name__)


def open_camera_model(
    config: RunConfig, source: Source
) -> tuple[Intrinsics, demo.DemoScore | None]:
    """Return the camera of a source, and the score of the built-in demo.

    Raises:
        PenumbraError: The camera's calibration cannot be read or is of another size.
    """
    if config.cam is None and config.video is None:
        ground_truth = demo.GroundTruth.load()
        return ground_truth.intrinsics(source.size), demo.DemoScore(ground_truth)
    return camera_of(config)(source.size, None), None


def open_pipeline(
    config: RunConfig,
    network: LandmarkNetwork,
    body: BodyModel,
    model: FlowModel,
    intrinsics: Intrinsics,
) -> Pipeline:
    """Open the stages with their networks.

    Args:
        config: of the run.
        network: that finds the landmarks.
        body: that the model was trained for.
        model: the flow.
        intrinsics: of the frames.

    Raises:
        PenumbraError: The first stage that cannot do what it was asked.
    """
    if not config.fit and model.calibration is not None:
        log.warning("fit: is off, but the uncertainty was calibrated for fitted hypotheses.")
    return Pipeline(
        tracker=open_people_tracker(config.backend, network, config.max_people),
        sampler=open_sampler(
            body, max(config.hypotheses, MIN_SAMPLES), config.backend, model, config.max_people
        ),
        body=body,
        intrinsics=intrinsics,
        calibration=model.calibration,
        smoothing=SmoothingConfig(enabled=config.smoothing),
        published=config.hypotheses,
        fit=FitConfig() if config.fit else None,
        follower=Follower(config.person),
        world=WorldEstimator(GravityNetwork.load(), body, _known_world(config)),
        height_m=None if config.height is None else config.height / 100,
        prior=None if config.prior == "none" else load_prior(config.prior),
    )


def stream_info(source: str, backend: str, model: FlowModel, intrinsics: Intrinsics) -> StreamInfo:
    """Return what every message says about the stream and not about the frame."""
    fitted = model.calibration
    calibration = None if fitted is None else stream_calibration(model.onnx.name, fitted)
    K, lens, known = intrinsics.matrix, intrinsics.dist, intrinsics.calibrated
    return StreamInfo(source, intrinsics.size, K, known, backend, calibration, lens)


def _known_world(config: RunConfig) -> WorldConfig:
    """What calibration or user say of gravity."""
    T_world_cam = None if config.calib is None else load_T_world_cam(config.calib)
    if config.up is None:
        return WorldConfig(T_world_cam)
    if T_world_cam is not None:
        raise PenumbraError(
            "up: is given together with the calibration's 'T_world_cam'; give one of them."
        )
    return WorldConfig(up=np.array(config.up))
