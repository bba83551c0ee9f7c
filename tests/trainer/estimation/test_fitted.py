"""The fit of a benchmark's samples is that of the live system."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.fitting.fit import HypothesisFitter
from engines.fitting.settings import FitConfig
from engines.flow.features import LAYOUT
from engines.flow.sampler import FlowOutput, PosedHypotheses, features_of, skeleton_of
from engines.rotations import exp_so3, log_so3
from engines.types import Hypotheses, Landmarks, Roi
from tests.support.random_samples import random_records
from trainer.data import samples as data
from trainer.estimation.fitted import fit_bodies
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import SkeletonTensors, view_joints

COUNT, K = 3, 20


def torch_skeleton(body: BodyModel) -> SkeletonTensors:
    parts = (body.J_template, body.J_shapedirs)
    return SkeletonTensors(*(torch.tensor(part, dtype=torch.float32) for part in parts))


@pytest.fixture(scope="module")
def records(body: BodyModel) -> dict[str, np.ndarray]:
    """Landmarks near the true joints, all visible."""
    raw = random_records(COUNT, 3, body)
    raw["window"][:] = (0, 0, 1280, 720)
    raw["visibility"][:] = 1.0
    return raw


def drawn(batch: data.Batch) -> BodySamples:
    """BodySamples around the true ones."""
    generator = torch.Generator().manual_seed(5)
    scale = (0.05, 0.2, 0.03)
    return BodySamples(
        *(
            part + s * torch.randn(COUNT, K, *part.shape[2:], generator=generator)
            for part, s in zip(batch.bodies(), scale, strict=True)
        )
    )


def test_it_is_the_live_fit(records: dict[str, np.ndarray], body: BodyModel) -> None:
    batch = data.encode(records, body)
    bodies, skeleton = drawn(batch), torch_skeleton(body)
    config = FitConfig(no_belief=1e9, full_belief=1e8, dither=0.0)
    fitter = HypothesisFitter(skeleton_of(body), K, config)
    fitted = fit_bodies(fitter, skeleton, batch, bodies)
    before, after = (
        view_joints(skeleton, batch.R_anchor, batch.half_size, one).numpy()
        for one in (bodies, fitted)
    )
    for i in range(COUNT):
        live = live_fit(fitter, records, i, before[i], bodies)
        # Not quite the same: sigma is isotropic in the image there, in the view here.
        np.testing.assert_allclose(lengths(after[i]), lengths(live.joints), atol=5e-3)
    assert np.abs(after - before).max() > 0.05


def lengths(joints: np.ndarray) -> np.ndarray:
    """Distances from the pelvis."""
    return np.linalg.norm(joints - joints[:, :1], axis=-1)


def live_fit(
    fitter: HypothesisFitter,
    records: dict[str, np.ndarray],
    i: int,
    joints_view: np.ndarray,
    bodies: BodySamples,
) -> Hypotheses:
    """Fit the same bodies in the camera, as the pipeline does."""
    arrays = (
        records[key][i].astype(float)
        for key in ("points", "depth", "visibility", "presence", "world")
    )
    landmarks = Landmarks(*arrays, 1.0, Roi(np.zeros(2), 1.0, 0.0))
    focal = float(records["focal"][i])
    camera = Intrinsics(focal, focal, 640.0, 360.0, (1280, 720))
    _, view = features_of(landmarks, camera)
    rotvec = bodies.rotvec[i].double().numpy()
    rotvec[:, 0] = log_so3(view.R_cam_view @ view.R_view_anchor @ exp_so3(rotvec[:, 0]))
    single = [
        np.ascontiguousarray(part, np.float32)
        for part in (
            rotvec,
            bodies.betas[i].numpy(),
            np.zeros((K, 3)),
            joints_view @ view.R_cam_view.T,
        )
    ]
    weights = np.full(K, 1 / K, np.float32)
    hypotheses = Hypotheses(*single, np.zeros(K, np.float32), weights)
    posed = PosedHypotheses(hypotheses, np.zeros((K, 24, 3, 4), np.float32))
    samples = FlowOutput(posed, np.ones(24), view, False)
    return fitter(samples, landmarks, camera).hypotheses


def test_what_is_occluded_leaves_bodies_alone(
    records: dict[str, np.ndarray], body: BodyModel
) -> None:
    batch = data.encode(records, body)
    features = batch.features.clone()
    features[:, LAYOUT["visibility"]] = -1.0
    batch, bodies = batch._replace(features=features), drawn(batch)
    fitter = HypothesisFitter(skeleton_of(body), K)
    same = fit_bodies(fitter, torch_skeleton(body), batch, bodies)
    for a, b in zip(same, bodies, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
