"""A panel hides what it should, and the joints behind it are compared with the others."""

import numpy as np
import pytest

from engines.blazepose.tracker import open_tracker
from engines.errors import PenumbraError
from trainer.datasets.recordings import Recording
from trainer.evaluation.view_scores import ViewScore
from trainer.hidden_limbs import HIDDEN, hidden_samples, summarise, with_panel


def test_a_panel_hides_the_joints_and_their_surroundings_only() -> None:
    image = np.full((80, 60, 3), 7, np.uint8)
    shown = with_panel(image, np.array([[20.0, 30.0], [25.0, 50.0]]), 5.0)
    hidden = (shown != image).any(-1)
    assert hidden[25:55, 15:30].all() and hidden.sum() == 30 * 15
    assert (image == 7).all()


@pytest.mark.parametrize("place", [[[-40.0, -30.0], [-20.0, -9.0]], [[np.nan, 3.0], [5.0, 5.0]]])
def test_joints_outside_of_the_image_or_unknown_hide_nothing(place: list[list[float]]) -> None:
    image = np.full((80, 60, 3), 7, np.uint8)
    assert (with_panel(image, np.array(place), 5.0) == image).all()


def scored(limbs: tuple[str, ...], std: list[float], inside: list[bool]) -> ViewScore:
    """A score of the joints of some limbs."""
    joints = np.array([joint for limb in limbs for joint in HIDDEN[limb]])
    nothing = np.zeros(len(joints))
    return ViewScore(
        joints=joints,
        visible=nothing > 0,
        pa_error=nothing,
        pa_error_best=nothing,
        pa_landmark_network=0.0,
        error=nothing,
        std=np.array(std),
        axes=np.zeros((len(joints), 3)),
        inside=np.array(inside),
        inside_aligned=np.array(inside),
    )


def test_joints_behind_the_panel_are_compared_with_the_others() -> None:
    shins = ("left shin", "right shin")
    scores = [
        scored(shins, [40.0, 80.0, 20.0, 20.0], [True, False, False, False]),
        scored(shins, [20.0, 20.0, 20.0, 20.0], [True, True, False, False]),
        scored(("right shin",), [30.0, 30.0], [False, False]),  # the left one is not known
    ]
    row = summarise(scores, HIDDEN["left shin"])
    assert row == {"sigma relative to the other limbs'": 2.0, "inside 90 %": 0.75, "images": 2}


def test_a_recording_without_reference_is_refused() -> None:
    with pytest.raises(PenumbraError, match="desk has no reference"):
        hidden_samples(Recording("desk", (), ()), "left shin", open_tracker(), 45.0)
