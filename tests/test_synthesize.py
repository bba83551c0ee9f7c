"""Scenes, the painter and the pairs made of them: geometry that can be checked, and the real landmark network."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from random_pairs import records
from scipy.spatial.transform import Rotation

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.landmarker import SIDE, decode
from engines.roi import crop_to_image, image_to_crop
from engines.rotations import exp_so3, geodesic_angle
from engines.types import JOINT_NAMES, LIMB_JOINTS, PARENTS, Landmarks, Roi
from trainer import synthesize
from trainer.ambiguous import CLEAR
from trainer.painting import render, scenes
from trainer.painting.scenes import CROPS, UPPER_BODY, Scene, SceneConfig, window
from trainer.pairs import data
from trainer.synthesize import Painter, SynthesizeConfig

LIMB_LANDMARKS = [23, 24, 25, 26, 27, 28, 11, 12, 13, 14, 15, 16]
"""In the order of LIMB_JOINTS."""
UPRIGHT = Roi(np.array([SIDE / 2, SIDE / 2]), SIDE, 0.0)
"""A picture that is its own crop."""


@pytest.fixture(scope="module")
def poses() -> tuple[np.ndarray, np.ndarray]:
    """A long clip and a short one; a clip of another split is missing between them. Nobody lies down."""
    rng = np.random.default_rng(0)
    rotvec = rng.normal(0, 0.3, (400, 24, 3))
    rotvec[:, 0] = 0
    return rotvec, np.repeat([2, 5], [390, 10])


def draws(poses: tuple[np.ndarray, np.ndarray], count: int, **changes: float) -> list[Scene]:
    rng = np.random.default_rng(1)
    return [scenes.draw(*poses, SceneConfig(**changes), rng) for _ in range(count)]


def test_everybody_stands_in_front_of_the_camera_and_upright(poses: tuple[np.ndarray, np.ndarray]) -> None:
    everybody = draws(poses, 200)
    up = np.array([exp_so3(scene.rotvec[0])[:, 1] for scene in everybody])  # the body's y axis in the camera frame
    tilt = np.degrees(np.arccos(-up[:, 1]))
    assert tilt.max() < 60 and np.median(tilt) < 20
    pelvis = np.array([scene.pelvis for scene in everybody])
    assert pelvis[:, 2].min() > 1.2
    front = np.array([exp_so3(scene.rotvec[0])[:, 2] for scene in everybody])
    assert 0.3 < (front[:, 2] < 0).mean() < 0.7  # half of them look away


def test_fields_of_view_lie_in_their_range(poses: tuple[np.ndarray, np.ndarray]) -> None:
    fov = [2 * np.degrees(np.arctan(max(s.size) / 2 / s.focal)) for s in draws(poses, 100, fov_deg=(50.0, 60.0))]
    assert 50 <= min(fov) < 52 and 58 < max(fov) <= 60


def test_without_truncation_the_person_fits(poses: tuple[np.ndarray, np.ndarray]) -> None:
    for scene in draws(poses, 100, truncate=0.0):
        x, y = scene.pelvis[:2] / scene.pelvis[2] * scene.focal + np.array(scene.size) / 2
        assert 0 < x < scene.size[0] and 0 < y < scene.size[1]
        assert 1.8 * scene.focal / scene.pelvis[2] < scene.size[1]


def test_arms_and_head_come_from_another_frame(poses: tuple[np.ndarray, np.ndarray]) -> None:
    upper, lower = list(UPPER_BODY), [i for i in range(1, 24) if i not in UPPER_BODY]
    for swap in (0.0, 1.0):
        for scene in draws(poses, 10, swap_upper=swap, jitter_rad=0.0):
            sources = [np.abs(poses[0][:, rows] - scene.rotvec[rows]).max((1, 2)).argmin() for rows in (lower, upper)]
            for rows, source in zip((lower, upper), sources, strict=True):
                np.testing.assert_allclose(scene.rotvec[rows], poses[0][source, rows], atol=1e-9)
            assert swap == 1.0 or sources[0] == sources[1]


def test_jitter_turns_every_joint_a_little(poses: tuple[np.ndarray, np.ndarray]) -> None:
    jittered = draws(([poses[0][:1]][0], np.zeros(1, int)), 50, jitter_rad=0.06)
    angles = [geodesic_angle(exp_so3(s.rotvec[1:]), exp_so3(poses[0][0, 1:])) for s in jittered]
    assert np.sqrt(np.mean(np.square(angles)) / 3) == pytest.approx(0.06, rel=0.1)
    assert np.linalg.norm(np.array([s.rotvec for s in jittered]), axis=-1).max() <= np.pi + 1e-9


def test_clips_are_equally_likely_whatever_their_length(poses: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    picked = [scenes._pick(poses[0], poses[1], rng) for _ in range(400)]
    short = np.mean([(np.abs(poses[0][390:] - pose).max((1, 2)) == 0).any() for pose in picked])
    assert short == pytest.approx(0.5, abs=0.1)


def two_triangles() -> render.Figure:
    """Part 1 is `far` by its depth; part 2 lies in front of half of it; part 3 turns its back."""
    faces = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    no = np.zeros(3, bool)
    return render.Figure(faces, np.array([1, 2, 3]), no, no)


def test_nearer_faces_cover_farther_ones_and_backs_are_not_painted() -> None:
    big = np.array([[10.0, 10], [10, 90], [90, 10]])
    pixels = np.concatenate([big, [[10, 10], [10, 40], [40, 10]], [[95, 95], [99, 60], [60, 99]][::-1]])
    depth = np.repeat([3.0, 2.0, 1.0], 3)
    area = np.cross(pixels[7] - pixels[6], pixels[8] - pixels[6])
    if area < 0:
        pixels[[7, 8]] = pixels[[8, 7]]
    vertices = np.column_stack([pixels / 100, depth])
    blank = np.full((100, 100, 3), 7, np.uint8)
    for order in ([0, 1, 2], [1, 0, 2]):
        figure = two_triangles()
        figure = render.Figure(figure.faces[order], figure.face_part[order], figure.is_hair, figure.is_eye)
        painting = render.paint(figure, vertices, pixels, 100, blank, np.random.default_rng(0))
        assert painting.part[15, 15] == 2 and painting.part[15, 70] == 1
        assert (painting.part != 3).all()
        assert ((painting.image != 7).any(-1) == (painting.part != render.NOBODY)).mean() > 0.99
    assert (blank == 7).all()


def test_whatever_is_painted_in_front_shows_no_body() -> None:
    changed_somewhere = False
    for seed in range(8):
        painting = render.Painting(np.full((128, 128, 3), 3, np.uint8), np.full((128, 128), 5, np.uint8))
        render.occlude(painting, np.array([[64.0, 64.0]]), 80, np.random.default_rng(seed))
        changed = (painting.image != 3).any(-1)
        assert (painting.part[changed] == render.NOBODY).all()
        assert (painting.part[~changed] == 5).mean() > 0.99
        changed_somewhere |= bool(changed.any())
    assert changed_somewhere


def test_a_joint_is_visible_where_its_part_or_a_neighbour_shows() -> None:
    part = np.full((100, 100), render.NOBODY, np.uint8)
    knee, ankle, hip = (JOINT_NAMES.index(name) for name in ("left_knee", "left_ankle", "left_hip"))
    part[20:41, 20:41] = knee
    part[60:81, 20:41] = JOINT_NAMES.index("right_wrist")
    part[60:81, 60:81] = hip
    joints = np.full((24, 2), 95.0)  # where nothing is painted
    joints[knee], joints[ankle], joints[hip] = (30, 30), (31, 29), (70, 30)
    assert np.flatnonzero(render.visible_joints(part, joints, 5)).tolist() == [knee, ankle]
    joints[knee], joints[ankle] = (70, 70), (30, 70)  # on the thigh; behind a hand
    assert np.flatnonzero(render.visible_joints(part, joints, 5)).tolist() == [knee]
    joints[knee] = (-3, 30)
    assert not render.visible_joints(part, joints, 5).any()
    joints[knee] = (45, 30)  # just off the edge: too little of the window shows it
    assert not render.visible_joints(part, joints, 5)[knee]
    assert PARENTS[knee] == hip


def test_pairs_of_another_body_are_refused(body: BodyModel, tmp_path: Path) -> None:
    np.savez(tmp_path / "00000.npz", body=np.array(body.name), **records(2, 0, body))
    raw = data.read(tmp_path, body)
    assert "body" not in raw and len(raw["focal"]) == 2
    np.savez(tmp_path / "00001.npz", body=np.array("SMPL neutral"), **records(2, 1, body))
    with pytest.raises(PenumbraError, match=r"00001\.npz was made with the body SMPL neutral.* --body"):
        data.read(tmp_path, body)


def test_hair_and_eyes_belong_to_the_head(body: BodyModel) -> None:
    figure = render.figure(body.live.v_template, body.live.faces, body.live.weights)
    head = figure.face_part == JOINT_NAMES.index("head")
    assert figure.is_eye.sum() > 4 and not (figure.is_eye & ~head).any()
    assert 0.1 < figure.is_hair.sum() / head.sum() < 0.9 and not (figure.is_hair & ~head).any()
    center = body.live.v_template[figure.faces].mean(1)
    assert center[figure.is_eye, 2].mean() > center[head, 2].mean()


def test_shards_are_joined_and_no_pairs_are_refused(body: BodyModel, tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"holds no training pairs: run python -m trainer\.synthesize"):
        data.encode(data.read(tmp_path, body), body)
    for i in range(3):
        np.savez(tmp_path / f"{i:05d}.npz", **records(4, i, body))
    assert data.encode(data.read(tmp_path, body, shards=2), body).size == 8
    everything = data.encode(data.read(tmp_path, body), body)
    assert everything.size == 12
    last = everything.rows(torch.arange(8, 12))
    for name, value in data.encode(records(4, 2, body), body)._asdict().items():
        torch.testing.assert_close(getattr(last, name), value, msg=name)


def test_the_truth_lies_where_the_joints_are_seen(body: BodyModel) -> None:
    raw = records(5, 4, body, noise_px=0.0)
    pairs = data.encode(raw, body)
    seen = pairs.features[:, :66].unflatten(1, (33, 2))[:, LIMB_LANDMARKS]
    torch.testing.assert_close(pairs.target[:, list(LIMB_JOINTS)], seen, atol=1e-4, rtol=0)
    # The anchor is the torso: what remains of the orientation is small for somebody who stands straight.
    assert pairs.y[:, 0].norm(dim=-1).max() < 1.2


@pytest.fixture(scope="module")
def painter(body: BodyModel) -> Painter:
    return Painter.open(body)


def standing(turn_deg: float) -> Scene:
    """Upright, arms a little off the body, 3.5 m away."""
    rotvec = np.zeros((24, 3))
    rotvec[16], rotvec[17] = (0, 0, -1.1), (0, 0, 1.1)
    facing = Rotation.from_euler("x", 180, degrees=True) * Rotation.from_euler("y", turn_deg, degrees=True)
    rotvec[0] = facing.as_rotvec()
    return Scene(rotvec, np.zeros(10), np.array([0.2, 0.1, 3.5]), 700.0, (1280, 720))


def test_landmarks_lie_near_the_true_joints_when_nothing_hides_them(
    painter: Painter, body: BodyModel, monkeypatch: pytest.MonkeyPatch
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
        "heatmap": np.full((1, 64, 64, 39), -9.0),  # certain of nothing: landmarks stay where they are
        "world": rng.normal(0, 0.3, (1, 117)),
        "score": np.array([0.9]),
        "map": rng.uniform(0, 6, (1, 4, 4, 288)).astype(np.float32),
    }
    in_crop, _ = decode(outputs, UPRIGHT, crop_to_image(UPRIGHT, SIDE))
    live, _ = decode(outputs, roi, crop_to_image(roi, SIDE))
    there = np.array([10.0, 20.0, 900.0, 700.0])
    record = synthesize._record(standing(0), there, in_crop, image_to_crop(roi, SIDE), np.ones(24, bool))
    for key in ("points", "depth", "world", "visibility", "presence"):
        np.testing.assert_allclose(record[key], getattr(live, key), rtol=1e-5, atol=1e-4, err_msg=key)
    np.testing.assert_allclose(record["map"], live.map, rtol=1e-3)  # stored in half precision
    np.testing.assert_array_equal(record["window"], there)
    np.testing.assert_allclose(record["crop_from_image"], image_to_crop(roi, SIDE), rtol=1e-5)


def test_a_pair_records_the_scene_it_was_made_from(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    scene = standing(10)
    record = painter.pair(scene, np.random.default_rng(3))
    assert record is not None
    np.testing.assert_allclose(record["pelvis"], scene.pelvis, atol=1e-6)
    np.testing.assert_allclose(record["rotvec"], scene.rotvec, atol=1e-6)
    assert record["focal"] == 700 and record["size"].tolist() == [1280, 720] and record["score"] >= 0.5
    assert record["window"].tolist() == [0, 0, 1280, 720] and record["crop"] == 0
    assert record["map"].shape == (4, 4, 288) and record["map"].dtype == np.float16 and np.ptp(record["map"]) > 0.1
    assert record.keys() == records(1, 0, painter.body).keys()  # what the other tests train on has this form


def test_the_same_seed_gives_the_same_pair(painter: Painter, poses: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_nobody_in_the_picture_is_no_pair(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = standing(0)
    close = Scene(scene.rotvec, scene.betas, np.array([0.0, 0.0, 0.2]), scene.focal, scene.size)
    assert painter.pair(close, np.random.default_rng(0)) is None

    def wall(painting: render.Painting, *_: object) -> None:
        painting.image[:] = 90
        painting.part[:] = render.NOBODY

    monkeypatch.setattr(render, "occlude", wall)
    assert painter.pair(scene, np.random.default_rng(0)) is None


def person_px() -> np.ndarray:
    """Joints of somebody upright in a 640 by 480 picture: legs below y = 240, arms at both sides, a head."""
    px = np.full((24, 2), (320.0, 240.0))
    px[[1, 4, 7, 10]] = [(300, 250), (300, 330), (300, 400), (300, 420)]
    px[[2, 5, 8, 11]] = [(340, 250), (340, 330), (340, 400), (340, 420)]
    px[[16, 18, 20, 22]] = [(280, 120), (240, 170), (230, 220), (228, 236)]
    px[[17, 19, 21, 23]] = [(360, 120), (400, 170), (410, 220), (412, 236)]
    px[[12, 15]] = [(320, 100), (320, 60)]
    return px


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ("whole", (0, 0, 640, 480)),
        ("legs", (228, 56, 412, 240)),  # x 228 to 412, y 60 to 236: 184 wide, 176 high, middle (320, 148)
        ("arms and head", (235, 250, 405, 420)),  # x 300 to 340, y 250 to 420: middle (320, 335), half 85
        ("arms", (140, 60, 500, 420)),  # legs and head: x 300 to 340, y 60 to 420: middle (320, 240), half 180
    ],
)
def test_a_crop_is_the_tight_square_about_what_it_keeps(crop: str, expected: tuple[float, ...]) -> None:
    scene = Scene(np.zeros((24, 3)), np.zeros(10), np.zeros(3), 500.0, (640, 480), crop)
    there = window(scene, person_px())
    np.testing.assert_allclose(there, expected)
    kept = person_px()[list(CROPS[crop])]
    assert (kept >= there[:2]).all() and (kept <= there[2:]).all()


@pytest.mark.parametrize("crop", CROPS)
def test_no_window_reaches_beyond_the_picture(crop: str) -> None:
    rng = np.random.default_rng(0)
    scene = Scene(np.zeros((24, 3)), np.zeros(10), np.zeros(3), 500.0, (640, 480), crop)
    for _ in range(30):
        left, top, right, bottom = window(scene, rng.normal((320, 240), 200, (24, 2)))
        assert left >= 0 and top >= 0 and right <= 640 and bottom <= 480


def test_what_a_crop_takes_away_is_not_visible(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    record = painter.pair(replace(standing(0), crop="legs"), np.random.default_rng(0))
    assert record is not None and record["crop"] == list(CROPS).index("legs")
    legs, arms = [4, 5, 7, 8, 10, 11], [16, 17, 18, 19]
    assert not record["joint_visible"][legs].any() and record["joint_visible"][arms].all()
    left, top, right, bottom = record["window"]
    assert 0 < left < right < 1280 and 0 < top < bottom < 720


def test_a_crop_of_what_lies_outside_the_picture_is_no_pair(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    low = replace(standing(0), pelvis=np.array([0.0, 1.9, 3.5]), crop="arms and head")  # legs below the border
    assert painter.pair(low, np.random.default_rng(0)) is None
    someone = replace(painter.landmarker(np.zeros((SIDE, SIDE, 3), np.uint8), UPRIGHT)[0], score=1.0)

    class Believer:
        def __call__(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
            return someone, roi

    believing = replace(painter, landmarker=Believer())  # pyright: ignore[reportArgumentType]
    assert believing.pair(low, np.random.default_rng(0)) is None
    assert believing.pair(replace(low, crop="whole"), np.random.default_rng(0)) is not None


def test_a_clear_scene_has_nothing_in_front(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(render, "occlude", lambda *_: called.append(1))
    painter.pair(replace(standing(0), things=False), np.random.default_rng(0))
    assert not called
    painter.pair(standing(0), np.random.default_rng(0))
    assert called


def test_crops_and_things_are_drawn_as_often_as_asked(poses: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    config = SceneConfig(crops=(0.1, 0.2, 0.3, 0.4), things=False)
    everybody = [scenes.draw(*poses, config, rng) for _ in range(600)]
    for crop, share in zip(CROPS, config.crops, strict=True):
        assert np.mean([scene.crop == crop for scene in everybody]) == pytest.approx(share, abs=0.06)
    assert not any(scene.things for scene in everybody)


def test_what_lies_outside_the_picture_is_not_visible(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "occlude", lambda *_: None)
    scene = standing(0)
    low = Scene(scene.rotvec, scene.betas, np.array([0.0, 1.6, 3.5]), scene.focal, scene.size)  # legs below the border
    record = painter.pair(low, np.random.default_rng(0))
    assert record is not None
    legs, arms = [4, 5, 7, 8, 10, 11], [16, 17]
    assert not record["joint_visible"][legs].any() and record["joint_visible"][arms].all()


def store(poses: tuple[np.ndarray, np.ndarray], path: Path) -> None:
    """Poses as `trainer.mocap` writes them, all of the training split."""
    rotvec, clip = poses
    names, split = np.array([f"clip{i}" for i in range(clip.max() + 1)]), np.zeros(len(clip), np.uint8)
    np.savez(path, rotvec=rotvec, transl=np.zeros((len(clip), 3)), clip=clip, split=split, clip_names=names)


def test_shards_of_something_else_are_not_added_to(
    painter: Painter, poses: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Here:
        """A pool without processes."""

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def imap_unordered(self, call: Callable[[object], None], jobs: list[object]) -> Iterator[None]:
            return map(call, jobs)

    monkeypatch.setattr(synthesize, "SHARD", 1)
    monkeypatch.setattr(synthesize, "_painter", lambda body: painter)
    monkeypatch.setattr(
        synthesize.multiprocessing.get_context("spawn"), "Pool", lambda processes: Here(), raising=False
    )
    store(poses, tmp_path / "poses.npz")
    config = SynthesizeConfig(poses=tmp_path / "poses.npz", out=tmp_path / "a", shards=1)
    synthesize.synthesize(config)
    synthesize.synthesize(replace(config, shards=2))  # more of the same
    assert [path.name for path in sorted((tmp_path / "a" / "train").glob("*.npz"))] == ["00000.npz", "00001.npz"]
    store((poses[0] * 0.9, poses[1]), tmp_path / "other.npz")
    for change, named in (
        ({"seed": 1}, "seed"),
        ({"scene": CLEAR}, "scene"),
        ({"poses": tmp_path / "other.npz"}, "poses"),
    ):
        with pytest.raises(PenumbraError, match=f"holds shards with another {named}; name another folder"):
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
    painter: Painter, poses: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert not np.array_equal(first["points"], np.load(config.out / "train" / "00000.npz")["points"])
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


def test_a_cheap_camera_keeps_the_picture_recognisable() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), (0, 0), 8)
    for seed in range(5):
        worse = render.degrade(image, np.random.default_rng(seed))
        assert worse.shape == image.shape and worse.dtype == np.uint8
    np.testing.assert_array_equal(worse, render.degrade(image, np.random.default_rng(4)))
