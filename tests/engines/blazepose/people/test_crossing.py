"""Two rendered people who cross and hide each other, tracked by the real networks."""

import pytest

from engines.blazepose.people.tracker import open_people_tracker
from tests.support import crossing
from tests.support.paths import SHARED
from trainer.evaluation.track_scores import score

MOCAP = SHARED / "data" / "mocap" / "cmu"
CLIPS = {
    "crossing": crossing.CROSSING,
    "close together": crossing.CLOSE,
    "one stands behind": crossing.STANDING,
    "one stands in front": crossing.BEHIND,
    "both turn back": crossing.TURNING,
}


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_both_are_found_and_keep_their_numbers(clip: str, record_property) -> None:
    if not MOCAP.is_dir():
        pytest.skip(f"no motion capture {MOCAP}")
    people = crossing.render(CLIPS[clip], MOCAP, frames=100)
    tracker = open_people_tracker("openvino", "full", 4)
    tracked = [
        [(p.track_id, p.landmarks.points, p.landmarks.visibility) for p in tracker(image)]
        for image in people.images
    ]
    result = score(tracked, people.joints_px, people.visible)
    record_property("track_scores", repr(result))
    assert result.both_found >= 0.9
    assert max(result.switches) <= 1
    assert result.stretched <= 4
    assert result.nobody <= 3 and result.doubled <= 2
