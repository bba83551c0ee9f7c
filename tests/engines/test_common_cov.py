"""What all joints share: Monte Carlo over focal lengths and sizes against the covariance."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engines.body import BodyModel, joints_only
from engines.camera import ASSUMED_FOCAL_ERROR, axis_std_by_focal, from_fov
from engines.covariance import ellipsoid_contains
from engines.types import Person
from tests.support.example_estimate import make_estimate
from tests.support.random_hypotheses import FACING

Place = Callable[[Person, float, float], np.ndarray]
SIZE_ERROR = 0.04
"""Relative standard deviation of how tall people are."""
PLACES = {"ahead": (0.0, 0.1, 3.0), "aside": (1.4, -0.2, 3.0), "in a corner": (-1.5, 0.9, 3.0)}


def person_at(body: BodyModel, pelvis: tuple[float, float, float], focal_error: float) -> Person:
    """A person of random pose, as an estimate for an assumed camera says it."""
    rng = np.random.default_rng(7)
    rotvec = rng.normal(0, 0.3, (24, 3))
    rotvec[0] = cv2.Rodrigues(FACING)[0][:, 0]
    joints = joints_only(body, rotvec, np.zeros(10), np.zeros(3)).astype(float)
    joints += np.array(pelvis) - joints[0]
    base = make_estimate().person
    assert base is not None
    distance = float(np.linalg.norm(pelvis))
    return replace(
        base,
        best=replace(base.best, joints=joints),
        joint_cov=np.tile(0.03**2 * np.eye(3), (24, 1, 1)),
        ray=np.array(pelvis) / distance,
        ray_std=SIZE_ERROR * distance,
        axis_std=axis_std_by_focal(focal_error, pelvis[2]),
    )


def draws(count: int, focal_error: float) -> Iterator[tuple[float, float]]:
    """True focal lengths and sizes, as shares of the ones that the estimate takes."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield 1 + focal_error * rng.standard_normal(), 1 + SIZE_ERROR * rng.standard_normal()


def placed(person: Person, focal: float, size: float) -> np.ndarray:
    """Where the pelvis is whose body makes the same image, by least squares over all joints."""
    joints = person.best.joints
    offsets, uv = size * (joints - joints[0]), joints[:, :2] / joints[:, 2:] / focal
    A = np.zeros((24, 2, 3))
    A[:, 0, 0] = A[:, 1, 1] = 1.0
    A[:, :, 2] = -uv
    b = uv * offsets[:, 2:] - offsets[:, :2]
    return np.linalg.lstsq(A.reshape(-1, 3), b.ravel(), rcond=None)[0]


def placed_and_turned(person: Person, focal: float, size: float) -> np.ndarray:
    """The same where the body may turn as well, by a PnP solver."""
    camera, joints = from_fov((1280, 960)), person.best.joints
    K = camera.matrix * np.array([[focal], [focal], [1]])
    K[:2, 2] = camera.cx, camera.cy
    model = size * (joints - joints[0])
    image = camera.project(joints)
    still, near = np.zeros((3, 1)), joints[:1].T.copy()
    _, _, at = cv2.solvePnP(model, image, K, None, still, near, True, cv2.SOLVEPNP_ITERATIVE)
    return at[:, 0]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("place", [placed, placed_and_turned])
@pytest.mark.parametrize("focal_error", [0.0, ASSUMED_FOCAL_ERROR])
def test_it_is_that_of_people_who_make_the_same_image(
    body: BodyModel, where: str, place: Place, focal_error: float
) -> None:
    """The person in the corner of the image is 30 degrees off the axis."""
    person = person_at(body, PLACES[where], focal_error)
    pelvises = np.array([place(person, *one) for one in draws(1500, focal_error)])
    found, ray = np.cov(pelvises.T), person.ray
    std, expected = np.sqrt(np.diag(found)), np.sqrt(np.diag(person.common_cov))
    np.testing.assert_allclose(std[:2], expected[:2], atol=0.005)
    assert std[2] == pytest.approx(expected[2], rel=0.15)
    assert np.sqrt(ray @ found @ ray) == pytest.approx(person.distance_std, rel=0.15)
    if not focal_error:
        np.testing.assert_allclose(found, person.common_cov, atol=0.05 * np.trace(found))


def test_ellipsoids_hold_joints_aside_only_with_all_of_it(body: BodyModel) -> None:
    """Draws of joint and common displacement; a wrong direction of the latter is far off."""
    rng = np.random.default_rng(1)
    person = person_at(body, PLACES["aside"], ASSUMED_FOCAL_ERROR)
    ray = person.ray
    pelvises = np.array([placed(person, *one) for one in draws(2000, ASSUMED_FOCAL_ERROR)])
    moved = pelvises - person.best.joints[0] + 0.03 * rng.standard_normal((2000, 3))
    along_ray = person.joint_cov[20] + person.distance_std**2 * np.outer(ray, ray)
    with_all = person.joint_cov[20] + person.common_cov
    assert ellipsoid_contains(with_all, moved).mean() == pytest.approx(0.9, abs=0.02)
    assert ellipsoid_contains(along_ray, moved).mean() < 0.5


@given(
    hnp.arrays(float, 3, elements=st.floats(-1, 1)),
    st.floats(0, 2),
    st.floats(0, 2),
)
def test_distance_std_is_its_part_along_the_ray(
    off: np.ndarray, ray_std: float, axis_std: float
) -> None:
    base = make_estimate().person
    assert base is not None
    ray = off + np.array([0.0, 0.0, 1.5])
    ray /= np.linalg.norm(ray)
    person = replace(base, ray=ray, ray_std=ray_std, axis_std=axis_std)
    assert person.distance_std == pytest.approx(np.hypot(ray_std, axis_std * ray[2]))
    assert person.distance_std**2 == pytest.approx(ray @ person.common_cov @ ray)
    assert np.linalg.eigvalsh(person.common_cov).min() > -1e-12
    known = replace(person, axis_std=0.0)
    expected = known.distance_std**2 * np.outer(ray, ray)
    np.testing.assert_allclose(known.common_cov, expected, atol=1e-300)  # no denormal numbers
