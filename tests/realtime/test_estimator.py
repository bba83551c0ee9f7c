"""Estimates of the caller's own images: the same as a run's, and what is refused."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from engines.camera import from_focal
from engines.errors import PenumbraError
from realtime import demo
from realtime.config import RunConfig
from realtime.estimator import PoseEstimator
from realtime.session import Session

FEW = RunConfig(hypotheses=8, landmarks="full")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    with demo.open_demo() as source:
        frames = [source.read() for _ in range(3)]
    return [frame.image for frame in frames if frame is not None]


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(FEW)


def test_a_video_is_estimated_as_a_run_does(images: list[np.ndarray]) -> None:
    config = replace(FEW, every_frame=True, publish=False, headless=True, max_frames=3)
    expected = []
    with Session(config) as session:
        camera = session.intrinsics
        session.run(lambda shown: expected.append(shown.estimate.person))
    estimator = PoseEstimator(FEW)
    for i, image in enumerate(images):
        person = estimator(image, i / 30, camera).person
        np.testing.assert_allclose(person.best.joints, expected[i].best.joints, atol=1e-4)
        np.testing.assert_allclose(person.joint_cov, expected[i].joint_cov, atol=1e-5)
        assert person.track_id == expected[i].track_id


def test_a_photo_depends_on_no_other(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    first = estimator(images[0])
    estimator(images[2][:, ::-1].copy(), 1.0)
    again = estimator(images[0])
    assert first.person is not None and again.person is not None
    np.testing.assert_allclose(first.person.best.joints, again.person.best.joints, atol=1e-5)
    assert again.frame.shot > first.frame.shot


def test_an_image_of_another_size_begins_anew(
    estimator: PoseEstimator, images: list[np.ndarray]
) -> None:
    shot = estimator(images[0], 2.0).frame.shot
    assert estimator(images[1], 2.1).frame.shot == shot
    assert estimator(images[2][:-2], 0.0).frame.shot == shot + 1


def test_bad_input_is_named(estimator: PoseEstimator, images: list[np.ndarray]) -> None:
    image = images[0]
    without_shape_checks = inspect.unwrap(PoseEstimator.__call__)
    for wrong, sentence in (
        (image.astype(float), "image: must be an array of uint8, not float64"),
        (image[:, :, 0], "image: must have height, width and 3 channels"),
        (image[:0], "image: must have height, width and 3 channels"),
        (None, "image: is None, which OpenCV returns at a video's end"),
    ):
        with pytest.raises(PenumbraError, match=sentence):
            without_shape_checks(estimator, wrong)
    for time_s in ("1", float("nan")):
        with pytest.raises(PenumbraError, match=r"t_s: must be a time in seconds, not '?(1|nan)"):
            without_shape_checks(estimator, image, time_s)
    estimator(image, 5.0)
    with pytest.raises(PenumbraError, match="t_s: 4 s is not later than the image before, 5 s"):
        estimator(image, 4.0)
    with pytest.raises(PenumbraError, match=r"intrinsics: are for images of \(64, 48\)"):
        estimator(image, None, from_focal((64, 48), 60.0))


@pytest.mark.parametrize("option", [{"video": "walk.mp4"}, {"max_frames": 3}, {"hypotheses": 0}])
def test_options_of_a_run_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(PenumbraError, match=f"{next(iter(option))}: "):
        PoseEstimator(replace(FEW, **option))  # pyright: ignore[reportArgumentType]
