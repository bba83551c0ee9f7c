"""The fit of a flow's samples: what it brings together, and what it leaves alone."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.coordinates import DIM
from engines.errors import PenumbraError
from engines.fitting.bodies import Bodies, bodies_of
from engines.fitting.fit import HypothesisFitter, dither
from engines.fitting.gate import belief, normalised_innovation
from engines.fitting.observation import JOINTS, LANDMARKS, landmark_sigma, observe
from engines.fitting.residuals import Rows
from engines.fitting.settings import FitConfig
from engines.flow.features import VirtualCamera
from engines.flow.sampler import FlowOutput, PosedHypotheses
from engines.kernels import Skeleton
from engines.rotations import exp_so3, inverse_right_jacobian, log_so3
from engines.types import MIRRORED_LANDMARKS, Hypotheses, Landmarks, Roi
from tests.support.fitting_problem import draws_around, random_anchor, random_bodies

K = 60
CAMERA = Intrinsics(800.0, 800.0, 640.0, 640.0, (1280, 1280))
HALF_SIZE = 0.3
VIEW = VirtualCamera(np.eye(3), np.array(HALF_SIZE), np.eye(3))


@pytest.fixture(scope="module")
def samples(skeleton: Skeleton) -> FlowOutput:
    """Draws as those of a flow, around a person three metres away."""
    start = draws_around(
        skeleton, random_bodies(skeleton, 1, 20), random_anchor(21, std=0.06), K, 22
    )
    rest = skeleton.J_template[0] + start.betas @ skeleton.J_shapedirs[0].T
    arrays = (log_so3(start.R), start.betas, start.pelvis - rest, start.joints)
    single = [np.ascontiguousarray(part, np.float32) for part in arrays]
    log_q = np.arange(K, dtype=np.float32)
    hypotheses = Hypotheses(*single, log_q, np.full(K, 1 / K, np.float32))
    posed = PosedHypotheses(hypotheses, np.zeros((K, 24, 3, 4), np.float32))
    return FlowOutput(posed, np.ones(24), VIEW, heavy=False)


def landmarks_of(samples: FlowOutput, k: int) -> Landmarks:
    """What a perfect network says of a body half way from the best estimate to hypothesis k."""
    points = np.full((33, 2), 640.0)
    half_way = samples.hypotheses.joints[[0, k]].mean(0)
    points[LANDMARKS] = CAMERA.project(half_way[JOINTS])
    ones = np.ones(33)
    roi = Roi(np.zeros(2), 1.0, 0.0)
    return Landmarks(points, 0 * ones, ones, ones, np.zeros((33, 3)), 1.0, roi)


def distances(samples: FlowOutput, landmarks: Landmarks) -> np.ndarray:
    """Of each hypothesis' joints from their landmarks, px, (K, 12)."""
    joints = samples.hypotheses.joints[:, JOINTS].reshape(-1, 3)
    apart = CAMERA.project(joints).reshape(-1, 12, 2) - landmarks.points[LANDMARKS]
    return np.linalg.norm(apart, axis=-1)


def relative_depths(samples: FlowOutput) -> np.ndarray:
    """Of each hypothesis' limb joints, from the pelvis along the ray of the best, metres."""
    joints = samples.hypotheses.joints
    ray = joints[0, 0] / np.linalg.norm(joints[0, 0])
    return (joints[:, JOINTS] - joints[:, :1]) @ ray


@pytest.fixture(scope="module")
def fitter(skeleton: Skeleton) -> HypothesisFitter:
    return HypothesisFitter(skeleton, K)


def test_hypotheses_come_to_the_landmarks(
    fitter: HypothesisFitter, samples: FlowOutput, skeleton: Skeleton
) -> None:
    landmarks = landmarks_of(samples, 7)
    fitted = fitter(samples, landmarks, CAMERA)
    before, after = distances(samples, landmarks), distances(fitted, landmarks)
    assert after.mean() < 0.4 * before.mean() and after[0].mean() < 0.4 * before[0].mean()
    more = HypothesisFitter(skeleton, K, FitConfig(iterations=4, dither=0.0))
    assert distances(more(samples, landmarks, CAMERA), landmarks).mean() < 0.7 * after.mean()


def test_a_fitted_sample_is_a_body_and_keeps_density_and_weight(
    fitter: HypothesisFitter, samples: FlowOutput, body: BodyModel
) -> None:
    fitted = fitter(samples, landmarks_of(samples, 7), CAMERA)
    out = fitted.hypotheses
    posed = body.shaped(out.betas).posed(out.rotvec, out.transl)
    np.testing.assert_allclose(posed.joints, out.joints, atol=1e-5)
    rest = body.rest_joints(out.betas)
    T = fitted.posed.T_cam_rest
    by_bones = np.einsum("kjxy,kjy->kjx", T[..., :3], rest) + T[..., 3]
    np.testing.assert_allclose(by_bones, out.joints, atol=1e-5)
    np.testing.assert_array_equal(out.log_q, samples.hypotheses.log_q)
    np.testing.assert_array_equal(out.weights, samples.hypotheses.weights)
    assert fitted.joint_visible is samples.joint_visible
    for name in ("rotvec", "betas", "transl", "joints"):
        array = getattr(out, name)
        assert array.dtype == np.float32 and array.flags.c_contiguous, name


def test_depth_stays_what_the_flow_says(samples: FlowOutput, skeleton: Skeleton) -> None:
    """Landmarks that a body half way to another hypothesis would have, at another depth too."""
    landmarks = landmarks_of(samples, 7)
    moved, left = {}, {}
    for sigma in (0.03, 10.0):
        fitter = HypothesisFitter(skeleton, K, FitConfig(depth_sigma=sigma, dither=0.0))
        fitted = fitter(samples, landmarks, CAMERA)
        change = relative_depths(fitted) - relative_depths(samples)
        moved[sigma] = np.sqrt((change**2).mean())
        left[sigma] = distances(fitted, landmarks).mean()
    assert moved[0.03] < 0.5 * moved[10.0]
    assert left[0.03] < 0.4 * distances(samples, landmarks).mean()


@pytest.mark.parametrize("why", ["occluded", "outside"])
def test_what_is_not_visible_moves_nothing(
    fitter: HypothesisFitter, samples: FlowOutput, why: str
) -> None:
    landmarks = landmarks_of(samples, 7)
    if why == "occluded":
        landmarks = replace(landmarks, visibility=np.full(33, 0.3))
    else:
        landmarks = replace(landmarks, points=landmarks.points + 2000)
    assert fitter(samples, landmarks, CAMERA).posed is samples.posed


def test_one_visible_wrist_moves_its_own_arm_most(
    fitter: HypothesisFitter, samples: FlowOutput
) -> None:
    landmarks = landmarks_of(samples, 7)
    visibility = np.zeros(33)
    visibility[15] = 1.0
    fitted = fitter(samples, replace(landmarks, visibility=visibility), CAMERA)
    before, after = distances(samples, landmarks), distances(fitted, landmarks)
    wrist = LANDMARKS.tolist().index(15)
    assert after[:, wrist].mean() < 0.65 * before[:, wrist].mean()
    moved = np.linalg.norm(fitted.hypotheses.joints - samples.hypotheses.joints, axis=-1).mean(0)
    assert moved[20] > 1.5 * moved[21] and moved[20] > 1.5 * moved[7]


def test_left_and_right_exchanged_moves_nothing(
    fitter: HypothesisFitter, samples: FlowOutput
) -> None:
    landmarks = landmarks_of(samples, 0)
    swapped = replace(landmarks, points=landmarks.points[list(MIRRORED_LANDMARKS)])
    assert fitter(samples, swapped, CAMERA).posed is samples.posed


def test_the_gate_fades(samples: FlowOutput, skeleton: Skeleton) -> None:
    """The more landmarks contradict the flow, the less they move it in the end."""
    landmarks, size = landmarks_of(samples, 0), []
    fitter = HypothesisFitter(skeleton, K, FitConfig(dither=0.0))
    for shift in np.linspace(0, 60, 31):
        points = landmarks.points.copy()
        points[15] += [shift, -shift]  # a wrist leaves the person
        fitted = fitter(samples, replace(landmarks, points=points), CAMERA)
        size.append(np.abs(fitted.hypotheses.joints[0] - samples.hypotheses.joints[0]).max())
    assert size[0] < 1e-3 and max(size) > 0.02 and size[-1] == 0.0
    assert np.abs(np.diff(size)).max() < 0.6 * max(size)


@dataclass(frozen=True)
class StraightLegs:
    """A prior for the pose: knees do not turn at all."""

    std: float = 0.1
    cost: float = 10.0

    def __call__(self, bodies: Bodies) -> Rows:
        rotvec = log_so3(bodies.R[:, [4, 5]])
        J = np.zeros((bodies.count, 2, 3, DIM), np.float32)
        for row, joint in enumerate((4, 5)):
            by_turn = inverse_right_jacobian(rotvec[:, row])
            J[:, row, :, 3 * joint : 3 * joint + 3] = by_turn
        residual = -rotvec.reshape(bodies.count, -1)
        variance = np.full_like(residual, self.std**2)
        cost = np.full(bodies.count, self.cost, np.float32)
        return Rows(residual, J.reshape(bodies.count, -1, DIM), variance, cost)


def knees(samples: FlowOutput) -> np.ndarray:
    return np.linalg.norm(samples.hypotheses.rotvec[:, [4, 5]], axis=-1).mean(1)


@pytest.mark.parametrize("name", ["sigma", "cauchy", "depth_sigma"])
@pytest.mark.parametrize("value", [0.0, -0.03, np.nan])
def test_options_that_are_no_standard_deviations_are_refused(name: str, value: float) -> None:
    with pytest.raises(PenumbraError, match=f"^{name}: "):
        FitConfig(**{name: value})


def test_a_prior_draws_what_landmarks_leave_open(samples: FlowOutput, skeleton: Skeleton) -> None:
    landmarks = landmarks_of(samples, 7)
    without = HypothesisFitter(skeleton, K)(samples, landmarks, CAMERA)
    drawn = []
    for share in (1e-6, 0.05, 1.0):
        config = FitConfig(prior_share=share)
        fitter = HypothesisFitter(skeleton, K, config, prior=StraightLegs())
        fitted = fitter(samples, landmarks, CAMERA)
        drawn.append(knees(fitted))
        assert distances(fitted, landmarks).mean() < 0.8 * distances(samples, landmarks).mean()
    np.testing.assert_allclose(drawn[0], knees(without), atol=0.01)
    assert drawn[2][0] < drawn[1][0] < drawn[0][0] and drawn[2].mean() < 0.9 * drawn[0].mean()


def test_a_prior_that_knows_nothing_of_a_pose_hardly_counts(
    samples: FlowOutput, skeleton: Skeleton
) -> None:
    landmarks = landmarks_of(samples, 7)
    angles = []
    for cost in (10.0, 1e5):
        prior = StraightLegs(cost=cost)
        fitter = HypothesisFitter(skeleton, K, FitConfig(prior_share=1.0), prior=prior)
        angles.append(knees(fitter(samples, landmarks, CAMERA))[0])
    without = knees(HypothesisFitter(skeleton, K)(samples, landmarks, CAMERA))[0]
    assert angles[0] < 0.9 * without and abs(angles[1] - without) < 0.1 * (without - angles[0])


def test_a_prior_moves_nothing_where_landmarks_are_not_believed(
    samples: FlowOutput, skeleton: Skeleton
) -> None:
    landmarks = landmarks_of(samples, 0)
    swapped = replace(landmarks, points=landmarks.points[list(MIRRORED_LANDMARKS)])
    fitter = HypothesisFitter(skeleton, K, prior=StraightLegs())
    assert fitter(samples, swapped, CAMERA).posed is samples.posed


def test_belief_is_linear_between_its_ends() -> None:
    values = [belief(x, 0.75, 1.25) for x in (0.0, 0.75, 1.0, 1.25, 9.0)]
    np.testing.assert_allclose(values, [1, 1, 0.5, 0, 0])


def test_the_innovation_of_what_the_flow_says_is_one_on_average() -> None:
    rng = np.random.default_rng(23)
    cov, J = random_anchor(24).cov, rng.standard_normal((24, 85))
    variance = rng.uniform(0.1, 0.3, 24)
    x = rng.multivariate_normal(np.zeros(85), cov, 800)
    r = x @ J.T + np.sqrt(variance) * rng.standard_normal((800, 24))
    values = [normalised_innovation(one, J, variance, cov) for one in r]
    assert np.mean(values) == pytest.approx(1.0, abs=5 * np.sqrt(2 / 24 / 800))


def test_spread_is_that_of_the_landmarks_where_they_are_seen(
    samples: FlowOutput, skeleton: Skeleton
) -> None:
    """With moved landmarks about their sigma remains, without them far less.

    Depth is free, so that landmarks can be met.
    """
    landmarks = landmarks_of(samples, 0)
    sigma = landmark_sigma(HALF_SIZE, landmarks.peak, FitConfig())[15] * CAMERA.fx
    spread = []
    for strength in (1.0, 0.0):
        config = FitConfig(dither=strength, iterations=3, depth_sigma=10.0)
        fitted = HypothesisFitter(skeleton, K, config)(samples, landmarks, CAMERA)
        apart = distances(fitted, landmarks)[1:, 2:6]  # elbows and wrists
        spread.append(np.sqrt((apart**2).mean() / 2) / sigma)
    assert 0.6 < spread[0] < 1.3 and spread[1] < 0.6 * spread[0]


def test_a_landmark_may_have_a_sigma_of_its_own(
    fitter: HypothesisFitter, samples: FlowOutput
) -> None:
    landmarks = landmarks_of(samples, 7)
    sigma = landmark_sigma(HALF_SIZE, landmarks.peak, FitConfig())
    same = fitter(samples, landmarks, CAMERA, sigma).hypotheses.joints
    np.testing.assert_array_equal(same, fitter(samples, landmarks, CAMERA).hypotheses.joints)
    sigma[15] *= 50
    blurred = fitter(samples, landmarks, CAMERA, sigma)
    wrist = LANDMARKS.tolist().index(15)
    sharp = distances(fitter(samples, landmarks, CAMERA), landmarks)[:, wrist]
    assert distances(blurred, landmarks)[:, wrist].mean() > 1.1 * sharp.mean()


def turned(samples: FlowOutput, R: np.ndarray) -> FlowOutput:
    """The same person elsewhere in the field of view: camera frame and view turned by R."""
    drawn = samples.hypotheses
    rotvec, joints = drawn.rotvec.copy(), drawn.joints @ R.T.astype(np.float32)
    rotvec[:, 0] = log_so3(R @ exp_so3(rotvec[:, 0]))
    transl = joints[:, 0] - (drawn.joints[:, 0] - drawn.transl)
    posed = PosedHypotheses(
        replace(drawn, rotvec=rotvec, joints=joints, transl=transl), samples.posed.T_cam_rest
    )
    return replace(samples, posed=posed, view=replace(VIEW, R_cam_view=R))


@pytest.mark.parametrize("degrees", [15, 30, 45])
def test_a_person_off_the_axis_is_fitted_as_one_on_it(
    fitter: HypothesisFitter, samples: FlowOutput, degrees: float
) -> None:
    """Sigma and anchor are those of the view, whatever its direction."""
    wide = Intrinsics(400.0, 400.0, 1280.0, 1280.0, (2560, 2560))
    R = exp_so3(np.deg2rad([0.0, degrees, 0.0]))
    fitted = []
    for one in (samples, turned(samples, R)):
        points = np.full((33, 2), 1280.0)
        points[LANDMARKS] = wide.project(one.hypotheses.joints[[0, 7]].mean(0)[JOINTS])
        landmarks = replace(landmarks_of(samples, 7), points=points)
        fitted.append(fitter(one, landmarks, wide).hypotheses.joints)
    back = fitted[1] @ R.astype(np.float32)
    moved = np.linalg.norm(fitted[0] - samples.hypotheses.joints, axis=-1).mean()
    assert np.linalg.norm(back - fitted[0], axis=-1).mean() < 0.1 * moved


def test_landmarks_are_observed_with_their_visibility(samples: FlowOutput) -> None:
    landmarks = landmarks_of(samples, 0)
    visibility = np.linspace(0.2, 1.0, 33)
    sigma = landmark_sigma(2.0, np.ones(33), FitConfig(sigma=0.1))
    config = FitConfig(min_visibility=0.5)
    seen = observe(replace(landmarks, visibility=visibility), CAMERA, VIEW, config, sigma)
    assert (LANDMARKS[seen.index] == LANDMARKS[1:]).all()
    np.testing.assert_array_equal(seen.joints, JOINTS[1:])
    np.testing.assert_allclose(seen.sigma, 0.2 / visibility[LANDMARKS[1:]], rtol=1e-6)
    np.testing.assert_allclose(seen.rays, CAMERA.rays(landmarks.points[LANDMARKS[1:]]), atol=1e-6)


def test_the_blunter_a_heatmap_the_larger_its_landmark_s_sigma() -> None:
    config = FitConfig(sigma=0.01, peak_power=3.0, usual_peak=0.8, max_sigma=0.5)
    peak = np.ones(33)
    peak[[13, 14, 15, 16]] = 0.5, 0.0, np.nan, 0.8
    sigma = landmark_sigma(2.0, peak, config)
    np.testing.assert_allclose(sigma[[11, 23, 13, 14]], [0.02, 0.02, 0.16, 1.0])
    assert sigma[15] == sigma[16] == pytest.approx(0.02 / 0.8**3)


def test_a_blunt_landmark_draws_less_than_a_sharp_one(
    fitter: HypothesisFitter, samples: FlowOutput
) -> None:
    landmarks = landmarks_of(samples, 7)
    blunt = np.full(33, 0.9)
    blunt[15] = 0.4
    wrist = LANDMARKS.tolist().index(15)
    sharp, less = (
        distances(fitter(samples, replace(landmarks, peak=peak), CAMERA), landmarks)[:, wrist]
        for peak in (np.full(33, 0.9), blunt)
    )
    assert less.mean() > 1.1 * sharp.mean()


def test_random_displacements_are_the_same_in_every_frame_and_none_for_the_best() -> None:
    np.testing.assert_array_equal(dither(9), dither(9))
    assert (dither(9)[0] == 0).all() and dither(400).std() == pytest.approx(1, abs=0.05)


def test_the_fits_bodies_are_the_hypotheses(samples: FlowOutput, skeleton: Skeleton) -> None:
    start = bodies_of(skeleton, samples.hypotheses)
    np.testing.assert_allclose(start.joints, samples.hypotheses.joints, atol=2e-6)


@pytest.mark.parametrize("wrong", [{"prior_share": 0.0}, {"prior_nats": 0.0}, {"no_belief": 0.75}])
def test_options_that_would_be_divided_by_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PenumbraError, match=next(iter(wrong))):
        FitConfig(**wrong)
