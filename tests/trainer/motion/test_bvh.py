"""BVH files: orders of channels, and files that are cut."""

from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from trainer.motion.bvh import read_bvh

BVH = """HIERARCHY
ROOT a
{
  OFFSET 1 2 3
  CHANNELS 6 Zposition Xposition Yposition Yrotation Zrotation Xrotation
  JOINT b
  {
    OFFSET 0 10 0
    CHANNELS 3 Xrotation Yrotation Zrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.025
0 0 0 0 0 0 0 0 0
30 10 20 90 0 0 90 0 0
"""


def test_bvh_channels_are_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "two.bvh"
    path.write_text(BVH)
    recording = read_bvh(path, 0.01)
    world = recording.world_rotations()
    positions = recording.world_positions(world)
    assert recording.fps == pytest.approx(40)
    np.testing.assert_allclose(positions[1], [[0.11, 0.22, 0.33], [0.11, 0.32, 0.33]], atol=1e-12)
    # b turns y to z about its own x, then a turns that z to x.
    np.testing.assert_allclose(world[1, 1] @ recording.tips[1], [0.05, 0, 0], atol=1e-12)


@pytest.mark.parametrize("keep", [0, 40, len(BVH) - 10])
def test_a_truncated_bvh_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.bvh"
    path.write_text(BVH[:keep])
    with pytest.raises(PenumbraError, match=r"cut\.bvh"):
        read_bvh(path, 0.01)
