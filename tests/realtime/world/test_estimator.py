"""How often the world's estimator asks people for gravity, and what that changes."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from engines.body import BodyModel
from engines.gravity.network import GravityNetwork
from engines.rotations import exp_so3, log_so3
from engines.types import Person
from realtime.world.estimator import WorldConfig, WorldEstimator
from tests.support.example_estimate import make_estimate

FPS = 30


def swaying(frames: int, track_id: int = 0) -> list[Person]:
    """A person who leans this way and that, by some degrees within a second."""
    person, rng = make_estimate().people[0], np.random.default_rng(0)
    lean, people = np.zeros(3), []
    for _ in range(frames):
        lean = 0.97 * lean + 0.02 * rng.normal(size=3)
        R = exp_so3(lean)
        best = replace(
            person.best,
            global_orient=log_so3(R @ exp_so3(person.best.global_orient)),
            joints=(person.best.joints - person.best.joints[0]) @ R.T + person.best.joints[0],
        )
        people.append(replace(person, best=best, track_id=track_id))
    return people


def counting() -> Mock:
    """The shipped network; it counts how often it is called."""
    network = Mock(spec=GravityNetwork)
    network.side_effect = GravityNetwork.load()
    return network


def test_asking_ten_times_a_second_says_what_every_frame_says(body: BodyModel) -> None:
    networks = [counting(), counting()]
    often, seldom = (
        WorldEstimator(network, body, WorldConfig(sample_s=sample_s))
        for network, sample_s in zip(networks, (0.0, 0.1), strict=True)
    )
    for i, person in enumerate(swaying(90)):
        a, b = often((person,), round(i / FPS, 3)), seldom((person,), round(i / FPS, 3))
        assert a is not None and b is not None
        if i >= FPS:
            assert np.degrees(np.arccos(min(1.0, a.up @ b.up))) < 1.0
            assert np.trace(b.up_cov) == pytest.approx(np.trace(a.up_cov), rel=0.1)
    assert [network.call_count for network in networks] == [90, 30]


def test_whoever_appears_is_asked_at_once(body: BodyModel) -> None:
    network = counting()
    world = WorldEstimator(network, body)
    first, second = swaying(2), swaying(2, track_id=1)
    world((first[0],), 0.0)
    world((first[1], second[0]), 0.033)
    assert [call.args[0].track_id for call in network.call_args_list] == [0, 1]
    world((), 0.066)
    world((first[1],), 0.09)  # out of view in between
    assert network.call_count == 3
    world.reset()
    world((first[1],), 0.1)
    assert network.call_count == 4
