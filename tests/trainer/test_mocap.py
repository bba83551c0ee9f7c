"""Motion capture to one file of poses: what is written, and lists of clips that are refused."""

from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from trainer.mocap import MocapConfig, main
from trainer.motion.poses import Poses

COLUMNS = "clip,subject,split,file,fps"


def write_clip(root: Path, name: str, frames: int) -> None:
    """Write a motion of AMASS's form; the last frame bends a knee the wrong way."""
    poses = np.random.default_rng(frames).normal(0, 0.05, (frames, 72))
    poses[-1, 3 * 4] = -1.0
    np.savez(root / name, poses=poses, trans=np.ones((frames, 3)), mocap_framerate=30.0)


def write_list(root: Path, *rows: str, columns: str = COLUMNS) -> MocapConfig:
    (root / "clips.csv").write_text("\n".join([columns, *rows]) + "\n")
    return MocapConfig(root, root / "new" / "poses.npz")


def test_clips_are_written_with_their_splits(tmp_path: Path) -> None:
    write_clip(tmp_path, "a.npz", 5)
    write_clip(tmp_path, "b.npz", 4)
    rows = ("a,1,train,a.npz,30", "16_11,1,train,missing.amc,30", "b,2,test,b.npz,30")
    config = write_list(tmp_path, *rows)
    main(config)
    poses = Poses.load(config.out)
    assert poses.clip.tolist() == [0] * 4 + [1] * 3 and poses.clip_names.tolist() == ["a", "b"]
    assert poses.split.tolist() == [0] * 4 + [2] * 3
    assert [len(part) for part in poses.of("test")] == [3, 3]
    with pytest.raises(PenumbraError, match="poses: there are none of val subjects"):
        poses.of("val")
    stored = np.load(config.out)
    assert stored["frame"].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert stored["clip_fps"].tolist() == [30.0, 30.0]
    assert [path.name for path in config.out.parent.iterdir()] == ["poses.npz"]


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        ((), COLUMNS, "lists no clip"),
        (("a,1,train",), "clip,subject,split", "has no column 'file'"),
        (("a,1,train,a.npz,fast",), COLUMNS, "could not convert"),
        (("a,1,train,a.npz,0",), COLUMNS, "clip a has no file, or no frame rate"),
        (("a,1,training,a.npz,30",), COLUMNS, "split training is not one of train, val, test"),
        (("a,1,train,a.npz,30", "b,1,test,b.npz,30"), COLUMNS, "subject 1 is in two splits"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    tmp_path: Path, rows: tuple[str, ...], columns: str, reason: str
) -> None:
    with pytest.raises(PenumbraError, match=f"clips.csv .*{reason}"):
        main(write_list(tmp_path, *rows, columns=columns))


def test_a_name_that_is_no_npz_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    config = write_list(tmp_path, "a,1,train,missing.npz,30")
    with pytest.raises(PenumbraError, match=r"out: .*does not end in \.npz"):
        main(MocapConfig(config.root, tmp_path / "poses"))
