"""Real people before whom something is put: what is hidden is known, the lost are left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.blazepose.tracker import PoseTracker
from engines.types import Landmarks, Roi
from tests.support.videos import SIZE, write_video
from trainer.synthetic.covered_video import Covering, _entry, covered_answers, draw_covering
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

ROI = Roi(np.array([80.0, 48.0]), 90.0, 0.0)
POINTS = np.random.default_rng(0).uniform([40, 10], [120, 86], (33, 2))
POINTS[[11, 12, 23, 24]] = (95, 25), (65, 25), (90, 55), (70, 55)  # the trunk faces the camera


def found(score: float = 0.99) -> Landmarks:
    return Landmarks(
        POINTS, np.zeros(33), np.full(33, 0.9), np.full(33, 0.9), np.zeros((33, 3)), score, ROI
    )


class Network:
    """Answers every image alike and counts the questions."""

    def __init__(self, score: float = 0.99) -> None:
        self.score, self.asked = score, 0

    def __call__(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
        self.asked += 1
        return found(self.score), ROI


def entries(video: Path, network: Network, heavy: Network) -> list[dict[str, np.ndarray]]:
    tracker = PoseTracker(lambda image: ROI, Network())
    rng = np.random.default_rng(0)
    return list(covered_answers(video, 2, 5, tracker, network, heavy, rng))


def test_every_kind_of_covering_hides_something_and_not_all() -> None:
    rng = np.random.default_rng(0)
    coverings = [draw_covering((96, 160), POINTS, 40.0, rng) for _ in range(300)]
    shares = np.array([covering.mask.mean() for covering in coverings])
    assert (shares > 0).mean() > 0.95 and (shares < 1).mean() > 0.95
    assert len(np.unique(shares.round(2))) > 20
    assert 0.08 < np.mean([covering.border for covering in coverings]) < 0.25


def test_entries_say_what_is_hidden(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 10)
    network = Network()
    found_entries = entries(video, network, Network())
    assert len(found_entries) == 25 and network.asked == 50  # five frames, five times, twice each
    states = np.stack([entry["state"] for entry in found_entries])
    assert {VISIBLE, OCCLUDED} <= set(np.unique(states)) <= {VISIBLE, OCCLUDED, OUTSIDE}
    for entry in found_entries:  # the network answered as if nothing had been there
        np.testing.assert_allclose(entry["found"], entry["true"])


@pytest.mark.parametrize("lost", ["network", "heavy"])
def test_people_whom_a_network_does_not_find_are_left_out(tmp_path: Path, lost: str) -> None:
    video = write_video(tmp_path / "a.mp4", 4)
    scores = {"network": 0.99, "heavy": 0.99} | {lost: 0.1}
    assert entries(video, Network(scores["network"]), Network(scores["heavy"])) == []


def test_networks_that_disagree_are_no_ground_truth(tmp_path: Path) -> None:
    class Elsewhere(Network):
        def __call__(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
            return replace(found(), points=POINTS + 30.0), ROI

    assert entries(write_video(tmp_path / "a.mp4", 4), Network(), Elsewhere()) == []


def test_beyond_a_border_the_image_ends() -> None:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[:, 80:] = True
    hidden = POINTS[:, 0] >= 80
    for border, expected in ((True, OUTSIDE), (False, OCCLUDED)):
        state = _entry(found(), found(), Covering(mask, border))["state"]
        assert (state[hidden] == expected).all() and (state[~hidden] == VISIBLE).all()
