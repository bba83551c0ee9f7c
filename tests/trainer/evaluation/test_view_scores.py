"""Scores of single views: what counts as an error, and how joints are told apart."""

from dataclasses import replace

import numpy as np
import pytest

from engines.types import JOINT_NAMES, LIMB_JOINTS
from tests.support.rigs import bodies_at, perfect_estimates, ring
from trainer.estimation.prediction import ViewEstimate
from trainer.evaluation.view_scores import (
    ViewSample,
    ViewScore,
    score_view,
    summarise,
    summarise_joints,
    without_common_distance,
)

LIMBS = np.array(LIMB_JOINTS)


def perfect_view(seed: int = 1) -> tuple[ViewEstimate, ViewSample]:
    """One camera's estimate of a random body, and that body as the reference."""
    camera = ring()[2]
    body = np.random.default_rng(seed).normal((0, 0, 3), 0.3, (24, 3))
    (estimate,) = perfect_estimates([camera], body)
    target = camera.to_camera(body)[LIMBS]
    return estimate, ViewSample(estimate.landmarks, camera.intrinsics, LIMBS, target)


def with_bodies(estimate: ViewEstimate, joints: np.ndarray) -> ViewEstimate:
    return replace(estimate, hypotheses=bodies_at(joints))


def test_a_perfect_estimate_scores_zero() -> None:
    score = score_view(*perfect_view())
    assert score.pa_error.max() < 1
    assert score.inside.all() and score.inside_aligned.all() and score.visible.all()
    assert score.pa_error_best.mean() == pytest.approx(score.pa_error.mean(), abs=1e-3)
    assert score.pa_landmark_network > 100


def test_with_a_wrong_best_estimate_a_draw_is_the_best_hypothesis() -> None:
    estimate, sample = perfect_view()
    joints = estimate.hypotheses.joints[[1, 0, *range(2, 20)]]
    score = score_view(with_bodies(estimate, joints), sample)
    assert score.pa_error.mean() > 20
    assert score.pa_error_best.mean() < 1


def test_only_the_common_distance_is_removed() -> None:
    ray = np.array([0.0, 0.6, 0.8])
    cov = np.tile(1e-2 * np.eye(3), (5, 1, 1))
    own = np.random.default_rng(0).normal(0, 0.05, (5, 3))
    own -= (own @ ray).mean() * ray
    shifted = own + 0.7 * ray
    np.testing.assert_allclose(without_common_distance(shifted, cov, ray), own, atol=1e-12)
    certain = cov.copy()
    certain[0] *= 1e-8  # the joint that is known decides how far the body is
    assert abs(without_common_distance(shifted, certain, ray)[0] @ ray) < 1e-4


def test_a_summary_tells_visible_joints_from_occluded_ones() -> None:
    """The left knee is occluded and wrong in every image; nothing else is."""
    knee = JOINT_NAMES.index("left_knee")
    scores = []
    for seed in range(12):
        estimate, sample = perfect_view(seed)
        joints = estimate.hypotheses.joints.copy()
        joints[:, knee] += (0.2 + 0.01 * seed, 0, 0)
        visible = np.ones(24)
        visible[knee] = 0.2
        cov = estimate.cov * (1 + seed)
        wrong = replace(with_bodies(estimate, joints), joint_visible=visible, cov=cov)
        scores.append(score_view(wrong, sample))
    summary = summarise(scores)
    assert summary["inside 90 %, occluded"] == 0
    assert summary["occluded joints"] == 12 and summary["images"] == 12
    assert summary["joints per image"] == 12
    joints = summarise_joints(scores)
    assert set(joints) == {JOINT_NAMES[joint] for joint in LIMB_JOINTS}
    assert list(joints["left_knee"]) == ["occluded"] and list(joints["right_ankle"]) == ["visible"]
    occluded = joints["left_knee"]["occluded"]
    assert occluded["inside 90 %"] == 0 and occluded["images"] == 12
    assert occluded["Spearman"] == pytest.approx(1)  # sigma and error grow together
    assert (occluded["PA error, best estimate"] or 0) > 50


def test_too_few_values_have_no_rank_correlation() -> None:
    scores = [score_view(*perfect_view(seed)) for seed in range(3)]
    assert summarise(scores)["Spearman within joint"] is None
    assert summarise(scores)["inside 90 %, occluded"] is None


def test_the_rank_that_predicted_errors_would_have_is_that_of_errors_drawn_from_them() -> None:
    rng = np.random.default_rng(3)
    n = 400
    perfect = score_view(*perfect_view())
    sigma = np.exp(rng.normal(3, 0.5, n))

    def scores(error: np.ndarray, sigma: np.ndarray) -> list[ViewScore]:
        names = ("joints", "visible", "pa_error", "pa_error_best", "inside", "inside_aligned")
        one = {name: getattr(perfect, name)[:1] for name in names}
        return [
            replace(perfect, **one, error=e[None], std=s[None], axes=np.tile(s, (1, 3)))
            for e, s in zip(error, sigma, strict=True)
        ]

    ranked = "Spearman within joint"
    expected = ranked + ", were the errors as predicted"
    right = summarise(scores(sigma * np.linalg.norm(rng.normal(size=(n, 3)), axis=1), sigma))
    assert right[ranked] == pytest.approx(right[expected], abs=0.1) and right[ranked] > 0.5
    unrelated = summarise(scores(rng.exponential(20, n), sigma))
    assert abs(unrelated[ranked]) < 0.15 and unrelated[expected] == right[expected]
    constant = summarise(scores(sigma, np.full(n, 20.0) + 1e-3 * rng.normal(size=n)))
    assert abs(constant[expected]) < 0.05
