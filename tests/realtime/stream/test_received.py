"""What a subscriber received can be reweighted like what the pipeline made."""

from dataclasses import replace

import numpy as np
import pytest

from engines.body import BodyModel
from engines.covariance import cov_from_six
from engines.evidence.contact import BodySurface, NonPenetration
from engines.evidence.evidence import TopDensity, best, reweight
from engines.evidence.surfaces import Plane
from engines.types import Estimate
from realtime.stream.decode import decode
from realtime.stream.encode import encode_estimate
from realtime.stream.message import PoseMessage
from realtime.stream.publisher import Publisher
from realtime.stream.received import covariance_of, hypotheses_of, intrinsics_of
from realtime.stream.wire import MessageError, pack, unpack
from realtime.subscriber import Subscriber
from tests.support.example_estimate import INFO, STAMP, make_estimate
from tests.support.random_hypotheses import around


def test_received_hypotheses_are_those_that_were_sent() -> None:
    estimate = make_estimate(count=5)
    assert estimate.person is not None
    lens = (-0.2, 0.05, 0.001, -0.002, 0.01)
    message = decode(encode_estimate(estimate, replace(INFO, camera_distortion=lens), STAMP))
    received, sent = hypotheses_of(message.people[0]), estimate.person.hypotheses
    for name in ("rotvec", "betas", "transl", "joints", "weights", "log_q"):
        np.testing.assert_allclose(getattr(received, name), getattr(sent, name), atol=1e-6)
    densest = reweight(received, TopDensity(2))
    assert set(np.flatnonzero(densest.weights)) == set(np.argsort(sent.log_q)[-2:])
    camera = intrinsics_of(message)
    np.testing.assert_array_equal(camera.matrix, INFO.camera_matrix)
    assert camera.size == (640, 480) and camera.dist == lens and not camera.calibrated


def test_hypotheses_without_a_density_are_refused() -> None:
    header, data = unpack(encode_estimate(make_estimate(), INFO, STAMP))
    del header["people"][0]["hypotheses"]["log_q"]
    with pytest.raises(MessageError, match="'log_q' of 'hypotheses' of person 0 is missing"):
        decode(pack(header, bytes(data)))


def through_a_socket(estimate: Estimate) -> PoseMessage:
    """What a subscriber receives of an estimate."""
    with (
        Publisher("tcp://127.0.0.1:*") as publisher,
        Subscriber(publisher.endpoint, timeout_s=10) as stream,
    ):
        message = None
        for _ in range(200):  # a subscriber misses what is sent before its connection stands
            publisher.publish(estimate, INFO)
            try:
                stream.timeout_s = 0.05
                message = stream.recv()
                break
            except TimeoutError:
                continue
    assert message is not None
    return message


def test_a_subscriber_receives_the_covariance_with_everything_included() -> None:
    """Also along the camera's axis, where an assumed focal length errs: the person is aside."""
    estimate = make_estimate()
    assert estimate.person is not None
    aside = replace(estimate.person, ray=np.array([0.48, 0.36, 0.8]), ray_std=0.1, axis_std=0.3)
    (person,) = through_a_socket(replace(estimate, people=(aside,))).people
    expected = aside.joint_cov + 0.01 * np.outer(aside.ray, aside.ray) + np.diag([0, 0, 0.09])
    np.testing.assert_allclose(covariance_of(person), expected, rtol=1e-5)
    assert person.common_cov is not None
    across = np.array([0.8, 0, -0.48]) / np.hypot(0.8, 0.48)  # to the side, on no ray
    common = cov_from_six(np.asarray(person.common_cov).astype(float))
    assert across @ common @ across == pytest.approx((0.3 * across[2]) ** 2, rel=1e-5)
    assert aside.ray @ common @ aside.ray == pytest.approx(person.distance_std**2, rel=1e-5)


def test_a_published_message_is_reweighted_by_a_floor(body: BodyModel) -> None:
    """Through a real socket: the floor cuts through half of the bodies, which lose their weight."""
    draws, _ = around(body, 30, seed=4)
    estimate = make_estimate()
    assert estimate.person is not None
    message = through_a_socket(
        replace(estimate, people=(replace(estimate.person, hypotheses=draws),))
    )
    received, skin = hypotheses_of(message.people[0]), BodySurface.of(body)
    lowest = skin.points(draws)[..., 1].max(1)
    floor = Plane.through(np.array([0.0, np.median(lowest), 3.0]), np.array([0.0, -1.0, 0.0]))
    posterior = reweight(received, NonPenetration(floor, skin, tolerance_m=0.005))
    assert posterior.weights.sum() == pytest.approx(1, abs=1e-5)
    sunk = lowest > np.median(lowest) + 0.03
    assert sunk.any() and posterior.weights[sunk].max() < 1e-4
    assert posterior.weights[lowest < np.median(lowest)].min() > 1 / 30
    assert best(posterior).joints.shape == (24, 3)
