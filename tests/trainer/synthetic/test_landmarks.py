"""Where landmarks lie on the body, and the statistics of the simulated network's errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.types import LIMB_LANDMARKS
from trainer.data.augment import MIRRORED_LANDMARKS
from trainer.synthetic import landmark_sites as sites
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.landmark_errors import ErrorModel
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

COUNT = 4000
NONE = ErrorConfig(*(0.0,) * 10, banked=1.0, swaps=(0.0, 0.0, 0.0))
ELBOW, OTHER_ELBOW, WRIST, KNEE, NOSE = 13, 14, 15, 25, 0


def simulate(config: ErrorConfig, state: int = VISIBLE, half_size: float = 0.5):
    return ErrorModel(config)(
        torch.zeros(33, 2, COUNT),
        torch.full((33, COUNT), state),
        torch.full((COUNT,), half_size),
        torch.Generator().manual_seed(0),
    )


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


def test_sites_are_symmetric_and_limbs_lie_on_joints(body: BodyModel) -> None:
    at = body.J_template[sites.JOINT] + sites.OFFSET_M
    np.testing.assert_allclose(at[list(MIRRORED_LANDMARKS)] * [-1, 1, 1], at, atol=2e-3)
    assert at[0, 2] > at[7, 2] and at[31, 2] > at[29, 2]  # nose before ears, toes before heels
    limbs = list(LIMB_LANDMARKS)
    assert sites.JOINT[limbs].tolist() == list(LIMB_LANDMARKS.values())
    assert (sites.OFFSET_M[limbs] == 0).all()


def test_without_errors_landmarks_are_where_they_are() -> None:
    for state in (VISIBLE, OCCLUDED, OUTSIDE):
        assert (simulate(NONE, state).points == 0).all()


def test_each_error_has_its_size_and_is_shared_as_it_says() -> None:
    own = simulate(replace(NONE, own=0.02)).points
    assert own[ELBOW].std() == pytest.approx(0.01, rel=0.05)  # an elbow's factor is 1
    assert own[sites.KIND.index("hand")].std() == pytest.approx(0.02, rel=0.05)
    assert abs(correlation(own[ELBOW], own[WRIST])) < 0.05
    limb = simulate(replace(NONE, limb=0.02)).points
    assert torch.equal(limb[ELBOW], limb[WRIST])
    assert abs(correlation(limb[ELBOW], limb[OTHER_ELBOW])) < 0.05
    common = simulate(replace(NONE, common=0.02)).points
    assert torch.equal(common[ELBOW], common[KNEE])
    assert common[NOSE].std() == pytest.approx(0.01, rel=0.05)


def test_occluded_landmarks_are_guessed_further_off() -> None:
    config = replace(NONE, occluded=0.08, occluded_limb=0.12)
    assert (simulate(config).points == 0).all()
    for state, factor in ((OCCLUDED, 0.6), (OUTSIDE, 0.9)):
        points = simulate(config, state).points
        expected = 0.5 * factor * np.hypot(0.08, 0.12)
        assert points[ELBOW].std() == pytest.approx(expected, rel=0.05)
        share = 0.12**2 / (0.12**2 + 0.08**2)
        assert correlation(points[ELBOW], points[WRIST]) == pytest.approx(share, abs=0.05)


def test_outliers_are_as_many_as_said() -> None:
    points = simulate(replace(NONE, outliers=0.1, outlier=0.3)).points
    away = points.abs().amax(1) > 0
    assert away.float().mean() == pytest.approx(0.1, abs=0.01)


def test_confidence_tells_visible_from_occluded() -> None:
    visible, occluded = simulate(NONE), simulate(NONE, OCCLUDED)
    assert visible.visibility[WRIST].mean() > occluded.visibility[WRIST].mean() + 0.4
    assert visible.presence[KNEE].mean() > simulate(NONE, OUTSIDE).presence[KNEE].mean() + 0.4
    logit = torch.logit(visible.visibility[WRIST], eps=1e-6)
    assert logit.mean() == pytest.approx(2.6, abs=0.2) and logit.std() == pytest.approx(
        2.5, rel=0.1
    )
    other = torch.logit(visible.visibility[KNEE], eps=1e-6)
    assert correlation(logit, other) == pytest.approx(0.33, abs=0.06)


def test_swaps_exchange_sides_below_the_face() -> None:
    flat = torch.arange(33.0)[:, None, None].expand(33, 2, COUNT).contiguous()
    state = torch.full((33, COUNT), VISIBLE)
    model = ErrorModel(replace(NONE, swaps=(0.2, 0.1, 0.3)))
    points = model(flat, state, torch.ones(COUNT), torch.Generator().manual_seed(0)).points[:, 0]
    arms, legs = points[ELBOW] == OTHER_ELBOW, points[KNEE] == KNEE + 1
    assert (points[NOSE] == NOSE).all() and torch.equal(points[WRIST] == WRIST + 1, arms)
    shares = [(arms & legs), (arms & ~legs), (legs & ~arms)]
    for share, expected in zip(shares, (0.2, 0.1, 0.3), strict=True):
        assert share.float().mean() == pytest.approx(expected, abs=0.02)


def test_guesses_have_heavy_tails_that_a_limb_shares() -> None:
    config = replace(NONE, occluded_limb=0.12)
    points = simulate(replace(config, guess_spread=0.85), OCCLUDED).points
    assert correlation(points[ELBOW].abs(), points[WRIST].abs()) > 0.9
    length = points[KNEE].norm(dim=0)
    plain = simulate(config, OCCLUDED).points[KNEE].norm(dim=0)
    assert length.quantile(0.97) / length.median() > 1.5 * plain.quantile(0.97) / plain.median()


def test_a_landmark_that_the_network_is_unsure_of_is_further_off() -> None:
    found = simulate(replace(NONE, own=0.02, unsure=0.4))
    length, sure = found.points[ELBOW].norm(dim=0), found.visibility[ELBOW] > 0.9
    assert length[~sure].mean() > 1.4 * length[sure].mean()
