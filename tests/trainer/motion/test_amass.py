"""AMASS files: two ways to name the rate, and files that are something else. What is read is tested
in test_mocap.py.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.errors import PenumbraError
from trainer.motion.amass import read_amass


def columns(frames: int = 3, width: int = 156) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "poses": rng.normal(0, 0.3, (frames, width)),
        "trans": rng.normal(0, 1, (frames, 3)),
        "betas": np.zeros(16),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
    }


def written(path: Path, **changes: object) -> Path:
    data = {key: value for key, value in (columns() | changes).items() if value is not None}
    np.savez(path, **data)  # pyright: ignore[reportArgumentType]
    return path


def test_both_names_of_the_rate_are_known_and_the_caller_overrules_them(tmp_path: Path) -> None:
    old = written(tmp_path / "old.npz")
    new = written(tmp_path / "new.npz", mocap_framerate=None, mocap_frame_rate=np.array(59.94))
    assert (
        read_amass(old).fps == 120
        and read_amass(new).fps == 59.94
        and read_amass(new, 30.0).fps == 30
    )


def test_the_world_is_turned_and_the_fingers_are_left_out(tmp_path: Path) -> None:
    motion, data = read_amass(written(tmp_path / "clip.npz")), columns()
    turn = Rotation.from_euler("x", -90, degrees=True)  # z up to y up
    np.testing.assert_allclose(motion.transl, turn.apply(data["trans"]), atol=1e-12)
    expected = (turn * Rotation.from_rotvec(data["poses"][:, :3])).as_rotvec()
    np.testing.assert_allclose(motion.rotvec[:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(motion.rotvec[:, 21], data["poses"][:, 63:66])
    assert not motion.rotvec[:, 22:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": None}, "lacks poses"),
        ({"trans": None, "poses": None}, "lacks poses and trans"),
        ({"mocap_framerate": None}, "lacks mocap_framerate"),
        ({"mocap_framerate": np.array(0.0)}, "frame rate '0.0'"),
        ({"mocap_framerate": np.array("fast")}, "frame rate 'fast'"),
        ({"poses": np.zeros((3, 63))}, r"poses has shape \(3, 63\)"),
        ({"trans": np.zeros((2, 3))}, r"3 poses and trans of shape \(2, 3\)"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "has 0 poses"),
        ({"poses": np.array([{}], object)}, "not an .npz of plain arrays"),
    ],
)
def test_other_files_are_refused_by_name(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(PenumbraError, match=message) as refusal:
        read_amass(written(tmp_path / "clip.npz", **changes))
    assert "clip.npz" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_broken_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.npz").write_bytes(content)
    with pytest.raises(PenumbraError, match=r"clip\.npz: not an \.npz"):
        read_amass(tmp_path / "clip.npz")
    with pytest.raises(PenumbraError, match=r"none\.npz: there is no such motion capture file"):
        read_amass(tmp_path / "none.npz")
