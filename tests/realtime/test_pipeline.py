"""One frame in, one estimate out: each published number against its own definition."""

import copy
import dataclasses
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import pytest

from engines.blazepose.people.track import TrackedPerson
from engines.blazepose.people.tracker import FORGET_AFTER, open_people_tracker
from engines.body import BodyModel, joints_only
from engines.camera import axis_std_by_focal, from_fov
from engines.circumstances import Circumstances
from engines.covariance import std_from_cov
from engines.fitting.settings import FitConfig
from engines.flow.model import FlowModel
from engines.flow.sampler import FlowOutput, open_sampler
from engines.flow.statistics import entropy
from engines.flow.stature import Stature
from engines.types import LIMB_LANDMARKS, Person
from realtime import demo
from realtime.capture.frame import Frame
from realtime.pipeline import Pipeline
from realtime.smoothing import SmoothingConfig

K = 60


@pytest.fixture(scope="module")
def frame() -> Frame:
    with demo.open_demo() as source:
        first = source.read()
    assert first is not None
    return first


@pytest.fixture(scope="module")
def pipeline(body: BodyModel, frame: Frame) -> Iterator[Pipeline]:
    model = FlowModel.load()
    size = (frame.image.shape[1], frame.image.shape[0])
    camera = demo.GroundTruth.load().intrinsics(size)
    smoothing = SmoothingConfig(enabled=False)
    sampler = open_sampler(body, K, model=model)
    yield Pipeline(open_people_tracker(), sampler, body, camera, model.calibration, smoothing)


@pytest.fixture(scope="module")
def person(pipeline: Pipeline, frame: Frame) -> Person:
    found = pipeline(frame).estimate.person
    assert found is not None
    return found


def level(joints: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """Every body as far away as the first."""
    along = joints[:, 0] @ ray
    return joints + (along[0] - along)[:, None, None] * ray


def circumstances_of(raw: np.ndarray, samples: FlowOutput) -> Circumstances:
    nats = entropy(samples.hypotheses)
    return Circumstances.of(raw, samples.joint_visible, nats, samples.half_size, samples.heavy)


def test_covariance_is_that_of_the_draws_then_calibrated(
    person: Person, pipeline: Pipeline
) -> None:
    samples = pipeline.sampler(person.landmarks, pipeline.intrinsics)
    joints = level(samples.hypotheses.joints.astype(float), person.ray)
    raw = np.stack([np.cov(joints[:, j].T, bias=True) for j in range(24)])
    assert pipeline.calibration is not None
    circumstances = circumstances_of(raw, samples)
    expected = pipeline.calibration.apply(raw, person.ray, person.joint_visible, circumstances)
    np.testing.assert_allclose(person.joint_cov, expected, atol=1e-5)


def test_published_hypotheses_have_the_calibrated_spread(
    person: Person, pipeline: Pipeline
) -> None:
    joints = level(person.hypotheses.joints.astype(float), person.ray)
    found = std_from_cov(np.stack([np.cov(joints[:, j].T, bias=True) for j in range(24)]))
    drawn = level(
        pipeline.sampler(person.landmarks, pipeline.intrinsics).hypotheses.joints.astype(float),
        person.ray,
    )
    raw = std_from_cov(np.stack([np.cov(drawn[:, j].T, bias=True) for j in range(24)]))
    wanted = std_from_cov(person.joint_cov)
    before, after = (np.abs(std / wanted - 1)[1:] for std in (raw, found))
    assert np.median(after) < 0.12 and np.quantile(after, 0.9) < 0.25
    assert np.median(after) < 0.7 * np.median(before)


def test_distance_is_kept_apart_and_the_hypotheses_have_it(
    person: Person, pipeline: Pipeline
) -> None:
    assert np.linalg.norm(person.ray) == pytest.approx(1, abs=1e-5)
    samples = pipeline.sampler(person.landmarks, pipeline.intrinsics)
    joints = samples.hypotheses.joints
    assert pipeline.calibration is not None
    raw = float((joints[:, 0] @ person.ray).std())
    flat = level(joints.astype(float), person.ray)
    cov = np.stack([np.cov(flat[:, j].T, bias=True) for j in range(24)])
    expected = pipeline.calibration.apply_to_distance(raw, circumstances_of(cov, samples))
    assert person.distance_std == pytest.approx(expected, rel=1e-3)
    assert (person.hypotheses.joints[:, 0] @ person.ray).std() == pytest.approx(
        person.distance_std, rel=0.02
    )


def test_what_smoothing_moves_is_added_to_the_covariances(
    pipeline: Pipeline, frame: Frame, body: BodyModel
) -> None:
    smooth, plain = (
        Pipeline(
            open_people_tracker(),
            pipeline.sampler,
            body,
            pipeline.intrinsics,
            pipeline.calibration,
            SmoothingConfig(enabled=enabled),
        )
        for enabled in (True, False)
    )
    info = dataclasses.replace(frame.info, media_time_s=frame.info.media_time_s + 0.04)
    moved = Frame(np.roll(frame.image, 15, 1), info)  # as a step to the side within one frame
    for one in (smooth, plain):
        one(frame)
    result, expected = smooth(moved), plain(moved).estimate.person
    person = result.estimate.person
    assert person is not None and expected is not None
    offset = person.best.joints - result.posed[0].hypotheses.joints[0]
    along = offset[0] @ person.ray
    offset = offset - along * person.ray
    assert 0.005 < np.linalg.norm(offset, axis=1).min() < 0.2
    np.testing.assert_allclose(
        person.joint_cov,
        expected.joint_cov + offset[:, :, None] * offset[:, None],
        rtol=1e-6,
        atol=1e-9,
    )
    assert person.distance_std == pytest.approx(np.hypot(expected.distance_std, along))
    np.testing.assert_allclose(
        person.common_cov,
        expected.common_cov + along**2 * np.outer(person.ray, person.ray),
        atol=1e-8,
    )


def test_an_assumed_camera_widens_along_its_axis(
    pipeline: Pipeline, frame: Frame, body: BodyModel
) -> None:
    size = (frame.image.shape[1], frame.image.shape[0])
    K = pipeline.intrinsics
    aside = dataclasses.replace(K, cx=K.cx - 0.7 * K.fx)  # where ray and axis differ
    known, guessed = (
        Pipeline(
            pipeline.tracker,
            pipeline.sampler,
            body,
            intrinsics,
            pipeline.calibration,
            SmoothingConfig(enabled=False),
        )(frame).estimate.person
        for intrinsics in (aside, dataclasses.replace(aside, source="assumed"))
    )
    assert known is not None and guessed is not None and not from_fov(size).calibrated
    widened = np.sqrt(guessed.distance_std**2 - known.distance_std**2)
    pelvis = guessed.best.joints[0]
    assert pelvis[2] < 0.9 * np.linalg.norm(pelvis)
    assert widened == pytest.approx(0.12 * pelvis[2] ** 2 / np.linalg.norm(pelvis), rel=0.1)
    np.testing.assert_allclose(
        known.common_cov, known.distance_std**2 * np.outer(known.ray, known.ray), rtol=1e-6
    )
    along_axis = guessed.common_cov - known.common_cov
    assert along_axis[2, 2] == pytest.approx((0.12 * pelvis[2]) ** 2, rel=0.1)
    along_axis[2, 2] = 0
    np.testing.assert_allclose(along_axis, 0, atol=0.1 * known.common_cov.max())
    # Tracking moves the crop by a fraction of a pixel between two estimates of one frame.
    np.testing.assert_allclose(
        std_from_cov(guessed.joint_cov), std_from_cov(known.joint_cov), rtol=0.2
    )


def test_the_flow_itself_moves_people_along_the_axis_when_the_focal_length_changes(
    pipeline: Pipeline, person: Person
) -> None:
    """Focal lengths as they are distributed, the person 25 degrees off the axis: a little less than
    `axis_std` says, and hardly sideways.
    """
    K = pipeline.intrinsics
    aside = dataclasses.replace(K, cx=K.cx - 0.55 * K.fx, source="assumed")
    normal, places = NormalDist(), []
    for i in range(20):
        share = 1 + aside.focal_error * normal.inv_cdf((i + 0.5) / 20)
        camera = dataclasses.replace(aside, fx=K.fx * share, fy=K.fy * share)
        places.append(pipeline.sampler(person.landmarks, camera).hypotheses.joints[0].copy())
    joints = np.array(places, float)
    std = joints.mean(1).std(0)
    z = joints[:, 0, 2].mean()
    assert 0.8 < std[2] / axis_std_by_focal(aside.focal_error, z) < 1.05
    assert np.linalg.norm(std[:2]) < 0.1 * std[2]
    relative = joints - joints.mean(1, keepdims=True)
    assert np.sqrt(relative.var(0).sum(-1).mean()) < 0.015


@pytest.mark.parametrize("height_m", [1.55, 1.95])
def test_a_known_height_scales_what_all_joints_share(
    pipeline: Pipeline, frame: Frame, body: BodyModel, height_m: float
) -> None:
    """The uncertainty of the size is gone, and that of the focal length goes with the distance."""
    plain, known, guessed = (
        Pipeline(
            open_people_tracker(),
            pipeline.sampler,
            body,
            dataclasses.replace(pipeline.intrinsics, source=source),
            pipeline.calibration,
            SmoothingConfig(enabled=False),
            height_m=height,
        )(frame).estimate.person
        for source, height in (("demo", None), ("demo", height_m), ("assumed", height_m))
    )
    assert plain is not None and known is not None and guessed is not None
    assert known.distance_std < 0.8 * plain.distance_std
    z = float(guessed.best.joints[0, 2])
    expected = known.distance_std**2 * np.outer(known.ray, known.ray)
    np.testing.assert_allclose(known.common_cov, expected, rtol=1e-6)
    expected[2, 2] += (0.12 * z) ** 2
    np.testing.assert_allclose(guessed.common_cov, expected, rtol=1e-3)
    stature = Stature(body, K, height_m).heights(plain.best.betas[None])[0]
    assert z / plain.best.joints[0, 2] == pytest.approx(height_m / stature, rel=0.05)


def test_a_frame_may_bring_its_own_camera(pipeline: Pipeline, frame: Frame) -> None:
    longer = dataclasses.replace(
        pipeline.intrinsics, fx=2 * pipeline.intrinsics.fx, fy=2 * pipeline.intrinsics.fy
    )
    near, far = (
        pipeline(dataclasses.replace(frame, intrinsics=own)).estimate.person
        for own in (None, longer)
    )
    assert near is not None and far is not None
    assert far.best.joints[0, 2] == pytest.approx(2 * near.best.joints[0, 2], rel=0.1)


def test_nothing_continues_into_another_shot(pipeline: Pipeline, frame: Frame) -> None:
    def track_in(shot: int) -> int:
        info = dataclasses.replace(frame.info, shot=shot)
        person = pipeline(dataclasses.replace(frame, info=info)).estimate.person
        assert person is not None
        return person.track_id

    first = track_in(0)
    assert track_in(0) == first
    other = track_in(7)
    assert other != first and track_in(7) == other


def test_every_hypothesis_is_the_body_of_its_parameters(person: Person, body: BodyModel) -> None:
    h = person.hypotheses
    np.testing.assert_allclose(joints_only(body, h.rotvec, h.betas, h.transl), h.joints, atol=1e-4)


def test_the_best_estimate_is_hypothesis_zero_when_nothing_is_filtered(person: Person) -> None:
    np.testing.assert_allclose(person.best.joints, person.hypotheses.joints[0], atol=1e-6)
    assert person.hypotheses.weights.sum() == pytest.approx(1, abs=1e-6)


def test_the_same_noise_gives_the_same_bodies_again(pipeline: Pipeline, person: Person) -> None:
    once, again = (
        pipeline.sampler(person.landmarks, pipeline.intrinsics).hypotheses for _ in range(2)
    )
    np.testing.assert_array_equal(again.joints, once.joints)
    np.testing.assert_array_equal(once.joints[0], person.hypotheses.joints[0])


def test_the_surface_is_the_best_estimate_and_its_spread_follows_the_joints(
    pipeline: Pipeline, frame: Frame, body: BodyModel
) -> None:
    result = pipeline(frame)
    person, (surface,) = result.estimate.person, pipeline.surfaces(result)
    assert person is not None
    rotvec = np.concatenate([person.best.global_orient, person.best.body_pose]).reshape(24, 3)
    posed = body.shaped(person.best.betas).posed(rotvec, person.best.transl)
    expected = posed.vertices("decimated")
    np.testing.assert_allclose(surface.vertices, expected, atol=1e-5)
    by_joint = body.decimated.weights @ std_from_cov(person.joint_cov)
    assert surface.std.min() > 0 and np.corrcoef(surface.std, by_joint)[0, 1] > 0.5


def test_an_estimate_of_another_person_leaves_the_first_as_it_is(
    pipeline: Pipeline, frame: Frame
) -> None:
    mirrored = dataclasses.replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1]))
    pipeline.tracker.reset()
    first = pipeline(frame)
    (at_once,) = pipeline.surfaces(first)
    kept = copy.deepcopy(first.estimate.person)
    pipeline.tracker.reset()
    second = pipeline(mirrored)
    (of_second,), (of_first,) = pipeline.surfaces(second), pipeline.surfaces(first)
    np.testing.assert_array_equal(of_first.std, at_once.std)
    np.testing.assert_array_equal(of_first.vertices, at_once.vertices)
    assert np.abs(of_second.vertices - of_first.vertices).max() > 0.05
    assert kept is not None and first.estimate.person is not None
    for name, value in vars(kept.hypotheses).items():
        np.testing.assert_array_equal(getattr(first.estimate.person.hypotheses, name), value)


def test_no_person_in_an_empty_image(pipeline: Pipeline, frame: Frame) -> None:
    pipeline.tracker.reset()
    empty = dataclasses.replace(frame, image=np.full_like(frame.image, 127))
    result = pipeline(dataclasses.replace(empty, info=dataclasses.replace(empty.info, dropped=3)))
    estimate = result.estimate
    assert result.posed == () and pipeline.surfaces(result) == ()
    assert estimate.person is None and estimate.frame.dropped == 3
    assert estimate.frame.frame_id == frame.info.frame_id


def test_a_fit_is_a_stage_of_its_own_and_draws_hypotheses_to_the_landmarks(
    pipeline: Pipeline, frame: Frame, body: BodyModel
) -> None:
    smoothing = SmoothingConfig(enabled=False)
    fitting = Pipeline(
        pipeline.tracker,
        pipeline.sampler,
        body,
        pipeline.intrinsics,
        pipeline.calibration,
        smoothing,
        fit=FitConfig(),
    )
    distances = []
    for one in (pipeline, fitting):
        one.tracker.reset()
        person = one(frame).estimate.person
        assert person is not None
        shown = [m for m in LIMB_LANDMARKS if person.landmarks.visibility[m] > 0.8]
        joints = person.best.joints[[LIMB_LANDMARKS[m] for m in shown]]
        apart = one.intrinsics.project(joints) - person.landmarks.points[shown]
        distances.append(np.linalg.norm(apart, axis=-1).mean())
    assert distances[1] < 0.9 * distances[0]
    assert "fit" in fitting.timer.percentiles_ms() and "fit" not in pipeline.timer.percentiles_ms()


def test_two_people_are_estimated_each_on_their_own_and_the_followed_one_is_first(
    pipeline: Pipeline, frame: Frame, body: BodyModel
) -> None:
    """The demo's person beside the same in a mirror, against each of them alone."""
    half = frame.image[:, 200:760]
    both = np.ascontiguousarray(np.concatenate([half, half[:, ::-1]], 1))
    size = (both.shape[1], both.shape[0])
    camera = dataclasses.replace(pipeline.intrinsics, size=size, cx=size[0] / 2)
    two = Pipeline(
        open_people_tracker(),
        pipeline.sampler,
        body,
        camera,
        pipeline.calibration,
        SmoothingConfig(enabled=False),
    )
    result = two(dataclasses.replace(frame, image=both))
    first, second = result.estimate.people
    assert len(result.posed) == 2 and {first.track_id, second.track_id} == {1, 2}
    surfaces = two.surfaces(result)
    for person, surface, posed in zip(result.estimate.people, surfaces, result.posed, strict=True):
        tracked = [TrackedPerson(person.track_id, person.landmarks)]
        (alone, _), *_ = two._people(tracked, camera, frame.info.media_time_s)
        np.testing.assert_array_equal(alone.hypotheses.joints, person.hypotheses.joints)
        np.testing.assert_array_equal(alone.joint_cov, person.joint_cov)
        np.testing.assert_array_equal(posed.hypotheses.joints[0], person.best.joints)
        pixels = camera.project(surface.vertices)
        on_the_left = person.landmarks.points[:, 0].mean() < 560
        assert (pixels[:, 0].mean() < 560) == on_the_left
    places = [person.landmarks.points[:, 0].mean() < 560 for person in (first, second)]
    assert sorted(places) == [False, True]
    two.follower.follow(second.track_id)
    again = two(dataclasses.replace(frame, image=both)).estimate
    assert again.person is not None and again.person.track_id == second.track_id
    assert set(two._smoothers) == {1, 2}
    grey = dataclasses.replace(frame, image=np.full_like(both, 127))
    for _ in range(FORGET_AFTER + 2):
        assert two(grey).estimate.people == ()
    assert two._smoothers == {}
