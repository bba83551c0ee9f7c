"""The files of rendered samples."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.scenes import store_poses
from trainer.data import rendered_shards
from trainer.data.rendered import SampleRenderer
from trainer.data.rendered_shards import ShardConfig, write_shard, write_shards
from trainer.render.scenes import CLEAR


@pytest.fixture(scope="module")
def renderer(body: BodyModel) -> SampleRenderer:
    return SampleRenderer.open(body)


class PoolInThisProcess:
    """A pool without processes."""

    def __enter__(self) -> "PoolInThisProcess":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def imap_unordered(self, call: Callable[[object], None], jobs: list[object]) -> Iterator[None]:
        return map(call, jobs)


def test_shards_of_something_else_are_not_added_to(
    renderer: SampleRenderer,
    poses: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendered_shards, "SHARD", 1)
    monkeypatch.setattr(rendered_shards, "_renderer", lambda body, network: renderer)
    context = rendered_shards.multiprocessing.get_context("spawn")
    monkeypatch.setattr(context, "Pool", lambda processes: PoolInThisProcess(), raising=False)
    store_poses(poses, tmp_path / "poses.npz")
    config = ShardConfig(poses=tmp_path / "poses.npz", out=tmp_path / "a", shards=1)
    write_shards(config)
    write_shards(replace(config, shards=2))  # more of the same
    files = sorted((tmp_path / "a" / "train").glob("*.npz"))
    assert [path.name for path in files] == ["00000.npz", "00001.npz"]
    store_poses((poses[0] * 0.9, poses[1]), tmp_path / "other.npz")
    for change, named in (
        ({"seed": 1}, "seed"),
        ({"scene": CLEAR}, "scene"),
        ({"poses": tmp_path / "other.npz"}, "poses"),
        ({"tracked": False}, "tracked"),
    ):
        sentence = f"holds shards with another {named}; name another folder"
        with pytest.raises(PenumbraError, match=sentence):
            write_shards(replace(config, shards=3, **change))
    (tmp_path / "a" / "train" / "made.json").unlink()
    with pytest.raises(PenumbraError, match="another seed, body, poses, scene, tracked"):
        write_shards(config)
    assert len(list((tmp_path / "a" / "train").glob("*.npz"))) == 2


@pytest.mark.parametrize("name", ["shards", "processes"])
def test_too_small_numbers_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=f"^{name}: must be at least 1, not 0"):
        write_shards(replace(ShardConfig(out=tmp_path), **{name: 0}))


def test_missing_poses_are_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"cannot read .*none.npz .*trainer\.mocap"):
        write_shards(ShardConfig(poses=tmp_path / "none.npz", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    np.savez(tmp_path / "some.npz", rotvec=np.zeros((1, 24, 3)))
    with pytest.raises(PenumbraError, match="lacks transl, clip, split, clip_names"):
        write_shards(ShardConfig(poses=tmp_path / "some.npz", out=tmp_path / "out"))


def test_a_shard_depends_on_its_number_alone_and_is_not_made_twice(
    renderer: SampleRenderer,
    poses: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendered_shards, "SHARD", 2)
    monkeypatch.setattr(rendered_shards, "_renderer", lambda body, network: renderer)
    store_poses(poses, tmp_path / "poses.npz")
    config = ShardConfig(poses=tmp_path / "poses.npz", out=tmp_path / "a")
    other = replace(config, out=tmp_path / "b")
    for index in (0, 1):
        write_shard(config, config.scene, index)
    write_shard(other, other.scene, 1)
    first, alone = (np.load(folder / "train" / "00001.npz") for folder in (config.out, other.out))
    zeroth = np.load(config.out / "train" / "00000.npz")
    assert str(first["body"]) == renderer.body.name
    for key in first.files:
        np.testing.assert_array_equal(first[key], alone[key])
    assert not np.array_equal(first["points"], zeroth["points"])
    path = config.out / "train" / "00000.npz"
    before = path.stat().st_mtime_ns
    write_shard(config, config.scene, 0)
    assert path.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_people_found_and_lost_are_counted(tmp_path: Path) -> None:
    for i, lost in enumerate((3, 4)):
        np.savez(tmp_path / f"{i:05d}.npz", score=np.ones(5), lost=np.array(lost))
    assert rendered_shards.found_and_lost(tmp_path) == (10, 7)
