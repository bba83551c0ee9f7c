"""The comparison with MediaPipe refuses what it cannot compare."""

import pytest

from realtime import benchmark


@pytest.mark.parametrize("frames", ["0", "-3"])
def test_no_frames_is_one_sentence(frames: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["walk.mp4", "--frames", frames])
    expected = f"frames: must be at least 1, not {frames}; ask for more.\n"
    assert capsys.readouterr().err == expected
