"""Batch made of painted scenes by the real landmark network, and the shards that keep them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from engines.blazepose.landmarker import SIDE, decode
from engines.blazepose.roi import crop_to_image, image_to_crop
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS, Landmarks, Roi
from tests.support.random_pairs import records
from trainer import synthesize
from trainer.ambiguous import CLEAR
from trainer.data import samples as data
from trainer.render import rasterizer as render
from trainer.render import scenes
from trainer.render.scenes import CROPS, Scene, SceneConfig
from trainer.synthesize import SceneRenderer, SynthesizeConfig

LIMB_LANDMARKS = [23, 24, 25, 26, 27, 28, 11, 12, 13, 14, 15, 16]
"""In the order of LIMB_JOINTS."""
UPRIGHT = Roi(np.array([SIDE / 2, SIDE / 2]), SIDE, 0.0)
"""A picture that is its own crop."""


@pytest.fixture(scope="module")
def painter(body: BodyModel) -> SceneRenderer:
    return SceneRenderer.open(body)


def standing(turn_deg: float) -> Scene:
    """Upright, arms a little off the body, 3.5 m away."""
    rotvec = np.zeros((24, 3))
    rotvec[16], rotvec[17] = (0, 0, -1.1), (0, 0, 1.1)
    facing = Rotation.from_euler("x", 180, degrees=True) * Rotation.from_euler(
        "y", turn_deg, degrees=True
    )
    rotvec[0] = facing.as_rotvec()
    return Scene(rotvec, np.zeros(10), np.array([0.2, 0.1, 3.5]), 700.0, (1280, 720))


def test_landmarks_lie_near_the_true_joints_when_nothing_hides_them(
    painter: SceneRenderer, body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    misses, depths = [], []
    for i, turn in enumerate((0, 30, -30, 0)):
        record = painter.pair(standing(turn), np.random.default_rng(i))
        assert record is not None
        pairs = data.encode({key: np.asarray(value)[None] for key, value in record.items()}, body)
        seen = pairs.features[:, :66].unflatten(1, (33, 2))[:, LIMB_LANDMARKS]
        misses.append((seen - pairs.target[:, list(LIMB_JOINTS)]).norm(dim=-1) / 2)
        assert record["joint_visible"][list(LIMB_JOINTS)].mean() > 0.8
        depths.append(pairs.y[0, 0].norm().item())
    assert torch.cat(misses).median() < 0.05  # of the person's size
    assert np.median(depths) < 0.6  # the torso's world landmarks give the orientation


def test_what_is_found_in_a_crop_is_recorded_as_the_live_landmarker_would_give_it() -> None:
    rng = np.random.default_rng(0)
    roi = Roi(np.array([600.0, 300.0]), 512.0, 0.4)
    outputs = {
        "landmarks": rng.uniform(20, 230, (1, 195)),
        "heatmap": np.full(
            (1, 64, 64, 39), -9.0
        ),  # certain of nothing: landmarks stay where they are
        "world": rng.normal(0, 0.3, (1, 117)),
        "score": np.array([0.9]),
        "map": rng.uniform(0, 6, (1, 4, 4, 288)).astype(np.float32),
    }
    in_crop, _ = decode(outputs, UPRIGHT, crop_to_image(UPRIGHT, SIDE))
    live, _ = decode(outputs, roi, crop_to_image(roi, SIDE))
    there = np.array([10.0, 20.0, 900.0, 700.0])
    record = synthesize._record(
        standing(0), there, in_crop, image_to_crop(roi, SIDE), np.ones(24, bool)
    )
    for key in ("points", "depth", "world", "visibility", "presence"):
        np.testing.assert_allclose(
            record[key], getattr(live, key), rtol=1e-5, atol=1e-4, err_msg=key
        )
    np.testing.assert_allclose(record["map"], live.map, rtol=1e-3)  # stored in half precision
    np.testing.assert_array_equal(record["window"], there)
    np.testing.assert_allclose(record["crop_from_image"], image_to_crop(roi, SIDE), rtol=1e-5)


def test_a_pair_records_the_scene_it_was_made_from(
    painter: SceneRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    scene = standing(10)
    record = painter.pair(scene, np.random.default_rng(3))
    assert record is not None
    np.testing.assert_allclose(record["pelvis"], scene.pelvis, atol=1e-6)
    np.testing.assert_allclose(record["rotvec"], scene.rotvec, atol=1e-6)
    assert (
        record["focal"] == 700 and record["size"].tolist() == [1280, 720] and record["score"] >= 0.5
    )
    assert record["window"].tolist() == [0, 0, 1280, 720] and record["crop"] == 0
    assert (
        record["map"].shape == (4, 4, 288)
        and record["map"].dtype == np.float16
        and np.ptp(record["map"]) > 0.1
    )
    assert (
        record.keys() == records(1, 0, painter.body).keys()
    )  # what the other tests train on has this form


def test_the_same_seed_gives_the_same_pair(
    painter: SceneRenderer, poses: tuple[np.ndarray, np.ndarray]
) -> None:
    def make(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        while True:
            record = painter.pair(scenes.draw(*poses, SceneConfig(), rng), rng)
            if record is not None:
                return record

    first, again, other = make(0), make(0), make(1)
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)
    assert not np.array_equal(first["points"], other["points"])


def test_nobody_in_the_picture_is_no_pair(
    painter: SceneRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = standing(0)
    close = Scene(scene.rotvec, scene.betas, np.array([0.0, 0.0, 0.2]), scene.focal, scene.size)
    assert painter.pair(close, np.random.default_rng(0)) is None

    def wall(painting: render.Rendering, *_: object) -> None:
        painting.image[:] = 90
        painting.part[:] = render.NOBODY

    monkeypatch.setattr(render, "occlude", wall)
    assert painter.pair(scene, np.random.default_rng(0)) is None


def test_what_a_crop_takes_away_is_not_visible(
    painter: SceneRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    record = painter.pair(replace(standing(0), crop="legs"), np.random.default_rng(0))
    assert record is not None and record["crop"] == list(CROPS).index("legs")
    legs, arms = [4, 5, 7, 8, 10, 11], [16, 17, 18, 19]
    assert not record["joint_visible"][legs].any() and record["joint_visible"][arms].all()
    left, top, right, bottom = record["window"]
    assert 0 < left < right < 1280 and 0 < top < bottom < 720


def test_a_crop_of_what_lies_outside_the_picture_is_no_pair(
    painter: SceneRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = replace(
        standing(0), pelvis=np.array([0.0, 1.9, 3.5]), crop="arms and head"
    )  # legs below the border
    assert painter.pair(low, np.random.default_rng(0)) is None
    someone = replace(
        painter.landmarker(np.zeros((SIDE, SIDE, 3), np.uint8), UPRIGHT)[0], score=1.0
    )

    class Believer:
        def __call__(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
            return someone, roi

    believing = replace(painter, landmarker=Believer())  # pyright: ignore[reportArgumentType]
    assert believing.pair(low, np.random.default_rng(0)) is None
    assert believing.pair(replace(low, crop="whole"), np.random.default_rng(0)) is not None


def test_a_clear_scene_has_nothing_in_front(
    painter: SceneRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    monkeypatch.setattr(render, "occlude", lambda *_: called.append(1))
    painter.pair(replace(standing(0), things=False), np.random.default_rng(0))
    assert not called
    painter.pair(standing(0), np.random.default_rng(0))
    assert called


def test_what_lies_outside_the_picture_is_not_visible(
    painter: SceneRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    scene = standing(0)
    low = Scene(
        scene.rotvec, scene.betas, np.array([0.0, 1.6, 3.5]), scene.focal, scene.size
    )  # legs below the border
    record = painter.pair(low, np.random.default_rng(0))
    assert record is not None
    legs, arms = [4, 5, 7, 8, 10, 11], [16, 17]
    assert not record["joint_visible"][legs].any() and record["joint_visible"][arms].all()


def store(poses: tuple[np.ndarray, np.ndarray], path: Path) -> None:
    """Poses as `trainer.mocap` writes them, all of the training split."""
    rotvec, clip = poses
    names, split = (
        np.array([f"clip{i}" for i in range(clip.max() + 1)]),
        np.zeros(len(clip), np.uint8),
    )
    np.savez(
        path,
        rotvec=rotvec,
        transl=np.zeros((len(clip), 3)),
        clip=clip,
        split=split,
        clip_names=names,
    )


def test_shards_of_something_else_are_not_added_to(
    painter: SceneRenderer,
    poses: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Here:
        """A pool without processes."""

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def imap_unordered(
            self, call: Callable[[object], None], jobs: list[object]
        ) -> Iterator[None]:
            return map(call, jobs)

    monkeypatch.setattr(synthesize, "SHARD", 1)
    monkeypatch.setattr(synthesize, "_painter", lambda body: painter)
    monkeypatch.setattr(
        synthesize.multiprocessing.get_context("spawn"),
        "Pool",
        lambda processes: Here(),
        raising=False,
    )
    store(poses, tmp_path / "poses.npz")
    config = SynthesizeConfig(poses=tmp_path / "poses.npz", out=tmp_path / "a", shards=1)
    synthesize.synthesize(config)
    synthesize.synthesize(replace(config, shards=2))  # more of the same
    assert [path.name for path in sorted((tmp_path / "a" / "train").glob("*.npz"))] == [
        "00000.npz",
        "00001.npz",
    ]
    store((poses[0] * 0.9, poses[1]), tmp_path / "other.npz")
    for change, named in (
        ({"seed": 1}, "seed"),
        ({"scene": CLEAR}, "scene"),
        ({"poses": tmp_path / "other.npz"}, "poses"),
    ):
        with pytest.raises(
            PenumbraError, match=f"holds shards with another {named}; name another folder"
        ):
            synthesize.synthesize(replace(config, shards=3, **change))
    (tmp_path / "a" / "train" / "made.json").unlink()
    with pytest.raises(PenumbraError, match="another seed, body, poses, scene"):
        synthesize.synthesize(config)
    assert len(list((tmp_path / "a" / "train").glob("*.npz"))) == 2


@pytest.mark.parametrize("name", ["shards", "processes"])
def test_too_small_numbers_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=f"--{name} 0: at least 1"):
        synthesize.synthesize(replace(SynthesizeConfig(out=tmp_path), **{name: 0}))


def test_missing_poses_are_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"--poses: cannot read .*none.npz .*trainer\.mocap"):
        synthesize.synthesize(SynthesizeConfig(poses=tmp_path / "none.npz", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    np.savez(tmp_path / "some.npz", rotvec=np.zeros((1, 24, 3)))
    with pytest.raises(PenumbraError, match="lacks transl, clip, split, clip_names"):
        synthesize.synthesize(SynthesizeConfig(poses=tmp_path / "some.npz", out=tmp_path / "out"))


def test_a_shard_depends_on_its_number_alone_and_is_not_made_twice(
    painter: SceneRenderer,
    poses: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(synthesize, "SHARD", 2)
    monkeypatch.setattr(synthesize, "_painter", lambda body: painter)
    store(poses, tmp_path / "poses.npz")
    config = SynthesizeConfig(poses=tmp_path / "poses.npz", out=tmp_path / "a")
    other = SynthesizeConfig(poses=tmp_path / "poses.npz", out=tmp_path / "b")
    for index in (0, 1):
        synthesize.make_shard(config, index)
    synthesize.make_shard(other, 1)
    first, alone = (np.load(folder / "train" / "00001.npz") for folder in (config.out, other.out))
    assert str(first["body"]) == painter.body.name
    for key in first.files:
        np.testing.assert_array_equal(first[key], alone[key])
    assert not np.array_equal(
        first["points"], np.load(config.out / "train" / "00000.npz")["points"]
    )
    path = config.out / "train" / "00000.npz"
    before = path.stat().st_mtime_ns
    synthesize.make_shard(config, 0)
    assert path.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_border_is_repeated_beyond_the_picture() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :50], image[:, 49] = 50, 200
    shift = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # the picture is the left half of the crop
    there = np.array([0.0, 0.0, 50.0, 100.0])
    out = synthesize._repeat_border(image, there, shift)
    assert (out[:, 50:] == 200).all()
    np.testing.assert_array_equal(out[:, :50], image[:, :50])
    part = np.full((100, 100), 5, np.uint8)
    synthesize._hide_outside(part, there, shift)
    assert (part[:, 52:] == render.NOBODY).all() and (part[:, :49] == 5).all()


def test_the_border_of_a_crop_is_repeated_on_every_side() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    there, M = np.array([30.0, 40.0, 60.0, 90.0]), np.array([[1.0, 0.0, -10.0], [0.0, 1.0, -20.0]])
    out = synthesize._repeat_border(image, there, M)  # in the crop it is x 20 to 50 and y 20 to 70
    np.testing.assert_array_equal(out[20:70, 20:50], image[20:70, 20:50])
    np.testing.assert_array_equal(out[20:70, :20], np.repeat(image[20:70, 20:21], 20, axis=1))
    np.testing.assert_array_equal(out[70:, 20:50], np.repeat(image[69:70, 20:50], 30, axis=0))
    np.testing.assert_array_equal(out[:20, 50:], np.broadcast_to(image[20, 49], (20, 50, 3)))
