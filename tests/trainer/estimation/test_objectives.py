"""Objectives by name: where they begin, with which prior, and how they are calibrated."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calib.fit import RADII_LEVELS
from engines.body import BodyModel
from engines.circumstances import Circumstances, ImageFactor
from engines.covariance import chi_square_3
from engines.fitting.bodies import bodies_of
from engines.fitting.observation import limbs_of
from engines.fitting.smplify import smplify
from engines.flow.model import FlowModel
from engines.flow.sampler import skeleton_of
from engines.flow.statistics import joint_moments
from engines.priors.load import load_prior
from engines.types import Landmarks
from engines.uncertainty import CovarianceCalibration
from tests.support.paths import ROOT
from tests.trainer.test_fit import CAMERA, aligned, landmarks_and_joints
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.landmark_fit import FLOW_STARTS, LandmarkFitter, flow_starts
from trainer.estimation.objectives import mean_pose, open_objective
from trainer.estimation.prediction import shipped_calibration

People = list[tuple[Landmarks, np.ndarray]]


@pytest.fixture(scope="module")
def people(body: BodyModel) -> People:
    return [landmarks_and_joints(body, seed) for seed in range(10, 16)]


def seen(people: People) -> list:
    return [(landmarks, CAMERA) for landmarks, _ in people]


def error(objective, prior: str, body: BodyModel, people: People) -> float:
    estimates = open_objective(objective, prior, body, None, 1)(seen(people))
    return float(
        np.mean([aligned(e.joints, t) for e, (_, t) in zip(estimates, people, strict=True)])
    )


def test_hypotheses_are_the_same_whoever_else_is_fitted(body: BodyModel, people: People) -> None:
    fit = open_objective("smplify", None, body, None, 9)
    alone, beside = fit(seen(people)[1:2])[0], fit(seen(people)[:2])[1]
    np.testing.assert_allclose(alone.hypotheses.joints, beside.hypotheses.joints, atol=2e-3)


@pytest.mark.parametrize("prior", ["gmm", "vposer", "ndf", "nrdf", "flow"])
def test_any_prior_is_better_than_none_from_the_mean_pose(
    prior: str, body: BodyModel, people: People
) -> None:
    """A distance field, too: its energy counts in nats."""
    assert error("smplify", prior, body, people) < 0.9 * error("smplify", "none", body, people)


def test_starts_are_the_flows_hypotheses(body: BodyModel, people: People) -> None:
    estimator = FrameEstimator(FlowModel.load(), body, 20)
    starts = flow_starts(estimator, skeleton_of(body))(seen(people))
    assert starts.count == FLOW_STARTS * len(people)
    for i, one in enumerate(seen(people)):
        drawn = bodies_of(skeleton_of(body), estimator.samples(*one).hypotheses)
        mine = starts.joints[i * FLOW_STARTS : (i + 1) * FLOW_STARTS]
        np.testing.assert_allclose(mine[0], drawn.joints[0], atol=1e-4)
        np.testing.assert_allclose(mine[2:], drawn.joints[1 : FLOW_STARTS - 1], atol=1e-4)


def test_a_fit_from_the_flow_lowers_the_cost_of_its_starts(body: BodyModel, people: People) -> None:
    estimator = FrameEstimator(FlowModel.load(), body, 20)
    starts = flow_starts(estimator, skeleton_of(body))(seen(people))
    fitter = smplify(body, load_prior("gmm"), mean_pose())
    found = fitter(limbs_of(seen(people), fitter.config.landmarks), starts)
    assert found.weights.shape == (len(people), FLOW_STARTS)
    cost, before = found.solution.cost, found.solution.cost_before
    assert (cost.reshape(found.weights.shape).min(1) < before.reshape(-1, FLOW_STARTS)[:, 0]).all()
    few = open_objective("smplify", None, body, None, 1, "flow")(seen(people))
    assert [one.hypotheses.rotvec.shape[0] for one in few] == [1] * len(people)
    # As many hypotheses as above, for others would begin elsewhere.
    fit = open_objective("smplify", None, body, None, 20, "flow")
    for estimate, image in zip(fit(seen(people)), range(len(people)), strict=True):
        best = found.solution.bodies.joints[found.best()[image]]
        np.testing.assert_allclose(estimate.joints, best, atol=2e-3)


def calibration(factor: float) -> CovarianceCalibration:
    normal = np.array([chi_square_3(level) for level in RADII_LEVELS])
    return CovarianceCalibration(
        visible=np.full((24, 2), factor),
        occluded=np.full((24, 2), factor),
        image_factor=ImageFactor((0.0,) * 4, (-1e3,) * 4, (0.0,) * 4, (1e3,) * 4, 0.0),
        distance=factor,
        radii=np.column_stack([RADII_LEVELS, normal, normal]),
        data="none",
    )


def test_a_calibration_scales_covariances_and_hypotheses(body: BodyModel, people: People) -> None:
    fitter = smplify(body, load_prior("gmm"), mean_pose())
    plain, twice = (
        LandmarkFitter(fitter, 300, calibration=one)(seen(people))
        for one in (None, calibration(2.0))
    )
    for a, b in zip(plain, twice, strict=True):
        np.testing.assert_allclose(b.cov, 4 * (a.cov + 0.004**2 * np.eye(3)), atol=1e-9)
        assert b.distance_std == pytest.approx(2 * a.distance_std)
        np.testing.assert_array_equal(a.joints, b.joints)  # the best estimate stays
        spread = [np.trace(joint_moments(e.hypotheses).cov[1:].sum(0)) for e in (a, b)]
        assert 1.5 < np.sqrt(spread[1] / spread[0]) < 2.2


@pytest.mark.parametrize("objective", ["smplify", "smplify-x"])
@pytest.mark.parametrize("starts", ["mean", "flow"])
def test_shipped_calibrations_hold_on_other_people(objective, starts) -> None:
    """As they were measured, shares of joints; who is not visible is hardest to say."""
    file = ROOT / "engines" / "assets" / "calibration" / f"{objective}_{starts}.json"
    record = json.loads(file.read_text())
    assert (record["objective"], record["starts"]) == (objective, starts)
    shipped = shipped_calibration(objective, starts)
    assert shipped is not None and shipped.metrics is not None
    assert shipped.data != shipped.metrics.data and shipped.data.startswith(objective)
    metrics = shipped.metrics
    for coverage, off in (
        (metrics.coverage, 0.05),
        (metrics.coverage_visible, 0.06),
        (metrics.coverage_occluded, 0.08),
    ):
        assert coverage is not None
        np.testing.assert_allclose(coverage, metrics.levels, atol=off)


def test_only_what_was_measured_is_calibrated(body: BodyModel, people: People) -> None:
    usual = open_objective("smplify", None, body, None, 5)
    assert usual.calibration is not None
    for change in ({"prior": "ndf"}, {"calibrate": False}, {"body": replace(body, name="other")}):
        arguments = {"prior": "gmm", "body": body, "calibrate": True} | change
        other = open_objective(
            "smplify",
            arguments["prior"],
            arguments["body"],
            None,
            5,
            "mean",
            arguments["calibrate"],
        )
        assert other.calibration is None
    (one,) = usual.predictions(seen(people[:1]))
    (estimate,) = usual(seen(people[:1]))
    moments = one.moments
    circumstances = Circumstances.of(
        moments.cov, one.joint_visible, one.entropy, one.half_size, one.heavy
    )
    expected = usual.calibration.apply(moments.cov, moments.ray, one.joint_visible, circumstances)
    np.testing.assert_allclose(estimate.cov, expected)
