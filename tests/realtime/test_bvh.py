"""BVH files: read back by another reader, their joints are where the archive has them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, Body, Estimate
from realtime import bvh
from realtime.archive import Archive
from realtime.bvh import Options, motion_of, run
from tests.support.example_estimate import make_estimate
from tests.support.full_disk import file_size_limit

FRAMES = 6


def person_at(i: int, body: BodyModel) -> Estimate:
    """A person whom a still camera sees turning, a frame each tenth of a second."""
    estimate = make_estimate(i)
    rng = np.random.default_rng(3)
    pose, betas = 0.3 * rng.normal(size=(24, 3)), rng.normal(size=10)
    pose[:, 1] += 0.05 * i
    transl = np.array([0.1 * i, 0.0, 3.0])
    joints = body.shaped(betas).posed(pose[None], transl[None]).joints[0]
    best = Body(pose[0], pose[1:].reshape(-1), betas, transl, joints=joints)
    frame = replace(estimate.frame, frame_id=i, media_time_s=0.1 * i)
    return replace(estimate, frame=frame, people=(replace(estimate.people[0], best=best),))


@pytest.fixture
def archive(tmp_path: Path, body: BodyModel) -> Path:
    """A person in six frames, the third of which has nobody; somebody else in one more."""
    path = tmp_path / "walk.npz"
    with Archive(path, k=5, meta={"body": body.name}) as out:
        for i in range(FRAMES):
            estimate = person_at(i, body)
            out.append(replace(estimate, people=()) if i == 2 else estimate)
        other = person_at(FRAMES, body)
        out.append(replace(other, people=(replace(other.people[0], track_id=9),)))
    return path


def joints_of(text: str) -> tuple[list[str], Float[np.ndarray, "N J 3"], float]:
    """Names, positions of the joints and seconds between frames, by a reader of its own."""
    hierarchy, motion = text.split("MOTION\n")
    names, parents, offsets, open_joints = [], [], [], []
    for line in map(str.split, hierarchy.splitlines()):
        if line[0] in ("ROOT", "JOINT"):
            names.append(line[1])
            parents.append(open_joints[-1] if open_joints else -1)
            open_joints.append(len(names) - 1)
        elif line[0] == "End":
            open_joints.append(-1)
        elif line[0] == "OFFSET" and open_joints[-1] >= 0:
            offsets.append([float(value) for value in line[1:]])
        elif line[0] == "}":
            open_joints.pop()
    assert not open_joints
    count, step, *rows = motion.strip().splitlines()
    numbers = np.array([[float(value) for value in row.split()] for row in rows])
    assert len(rows) == int(count.removeprefix("Frames: "))
    assert numbers.shape[1] == 3 + 3 * len(names)
    joints = np.zeros((len(rows), len(names), 3))
    turns = np.zeros((len(rows), len(names), 3, 3))
    for j, parent in enumerate(parents):
        z, x, y = np.radians(numbers[:, 3 + 3 * j : 6 + 3 * j]).T
        turn = _about(z, 2) @ _about(x, 0) @ _about(y, 1)
        if parent < 0:
            joints[:, j], turns[:, j] = numbers[:, :3], turn
        else:
            joints[:, j] = joints[:, parent] + turns[:, parent] @ np.array(offsets[j])
            turns[:, j] = turns[:, parent] @ turn
    return names, joints, float(step.removeprefix("Frame Time: "))


def _about(angle: Float[np.ndarray, "N"], axis: int) -> Float[np.ndarray, "N 3 3"]:
    return Rotation.from_rotvec(angle[:, None] * np.eye(3)[axis]).as_matrix()


def test_joints_are_where_the_archive_has_them(archive: Path, body: BodyModel) -> None:
    bvh.main([str(archive)])
    names, joints, step = joints_of(archive.with_suffix(".bvh").read_text())
    assert sorted(names) == sorted(JOINT_NAMES) and step == pytest.approx(0.1)
    assert len(joints) == FRAMES  # the one without anybody is interpolated
    order = [names.index(name) for name in JOINT_NAMES]
    T = person_at(0, body).world.T_world_cam
    for i in (0, 1, 3, 4, 5):
        in_camera = person_at(i, body).people[0].best.joints
        x, y, z = (in_camera @ T[:3, :3].T + T[:3, 3]).T
        expected = 100 * np.column_stack([x, z, -y])  # y is up
        np.testing.assert_allclose(joints[i, order], expected, atol=0.05)


def test_other_rates_are_interpolated(archive: Path) -> None:
    run(Options(archive, out=archive.with_name("fast.bvh"), fps=40.0))
    run(Options(archive))
    _, fast, step = joints_of(archive.with_name("fast.bvh").read_text())
    _, usual, _ = joints_of(archive.with_suffix(".bvh").read_text())
    assert step == pytest.approx(1 / 40) and len(fast) == 21
    np.testing.assert_allclose(fast[::4], usual, atol=0.01)
    between = 0.5 * (usual[:-1] + usual[1:])
    np.testing.assert_allclose(fast[2::4], between, atol=1.0)


def test_what_bvh_cannot_say_is_said(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(Options(archive))
    said = capsys.readouterr().out
    beginning = (
        r"person 2, 6 frames at 10 per second, from 0.00 s of the archive on, longest gap 0.20 "
    )
    assert re.search(beginning + r"s; \d+% of the joints are guessed", said)
    assert "not in it: 9 (1 frames, 0.60 to 0.60 s)" in said
    assert "no floor" not in said
    with np.load(archive) as stored:
        np.savez(archive, **(dict(stored) | {"floor_std": np.full(FRAMES + 1, np.inf)}))
    run(Options(archive, force=True))
    assert "no floor was found, so its height is a guess" in capsys.readouterr().out


def test_bad_input_is_named(archive: Path, tmp_path: Path, body: BodyModel) -> None:
    def refused(message: str, **changes: object) -> None:
        options = replace(Options(archive, out=tmp_path / "new.bvh"), **changes)
        with pytest.raises(PenumbraError, match=message):
            run(options)
        assert not (tmp_path / "new.bvh").exists()

    refused(r"person: 5 is not in the archive; it has 2 \(5 frames\), 9 \(1 frames\)", person=5)
    refused("archive: a motion needs two frames", person=9)
    for fps in (0.0, float("nan"), 0.01, 1e6):
        refused("fps: must be at most 1000 and give two frames in 0.5 s", fps=fps)
    refused("archive: .*nothing.npz is not what", archive=tmp_path / "nothing.npz")
    refused(r"out: .*\.bvh", out=tmp_path / "walk.txt")
    for name, meta, message in (
        ("other", {"body": "somebody"}, "body: the archive was made with somebody"),
        ("photos", {"body": body.name, "images": []}, "archive: .* is of photos"),
    ):
        with Archive(tmp_path / f"{name}.npz", k=5, meta=meta) as out:
            out.append(person_at(0, body))
        refused(message, archive=tmp_path / f"{name}.npz")
    with Archive(tmp_path / "empty.npz", k=5, meta={"body": body.name}) as out:
        out.append(replace(person_at(0, body), people=()))
    refused("archive: .* has nobody", archive=tmp_path / "empty.npz")
    with np.load(archive) as stored:
        arrays = dict(stored)
    arrays["joints"] = arrays["joints"][:, :7]
    np.savez(tmp_path / "cut.npz", **arrays)
    refused(r"archive: .*joints is \(7, 7, 3\)", archive=tmp_path / "cut.npz")
    assert json.loads(str(arrays["meta"]))["body"] == body.name


def test_a_result_is_not_replaced_unasked(archive: Path) -> None:
    run(Options(archive))
    with pytest.raises(PenumbraError, match="force"):
        run(Options(archive))
    run(Options(archive, force=True))


def rows_of(frames: int, body: BodyModel) -> dict[str, np.ndarray]:
    bests = [person_at(i, body).people[0].best for i in range(frames)]
    names = ("joints", "global_orient", "body_pose", "betas")
    rows = {name: np.stack([getattr(best, name) for best in bests]) for name in names}
    return rows | {"t": np.arange(frames) / 30}


def test_people_of_an_archive_share_the_last_place_of_the_camera(
    tmp_path: Path, body: BodyModel
) -> None:
    """Gravity is known best at the end; and who left before it must stand on the same floor."""
    place = np.eye(4)
    place[2, 3] = 1.5
    for name, last in (("moving", place), ("still", None)):
        with Archive(tmp_path / f"{name}.npz", k=5, meta={"body": body.name}) as out:
            for i in range(FRAMES):
                estimate = person_at(i, body)
                assert estimate.world is not None
                if last is not None and i > 3:
                    estimate = replace(estimate, world=replace(estimate.world, T_world_cam=last))
                people = tuple(replace(one, track_id=2 + i // 4) for one in estimate.people)
                out.append(replace(estimate, people=people))
        run(Options(tmp_path / f"{name}.npz", person=2))
    (_, moving, _), (_, still, _) = (
        joints_of((tmp_path / f"{name}.bvh").read_text()) for name in ("moving", "still")
    )
    before = person_at(0, body).world
    assert before is not None
    back = np.linalg.inv(before.T_world_cam)
    x, z, y = (still / 100 * [1, 1, -1]).transpose(2, 0, 1)
    in_camera = np.stack([x, y, z], -1) @ back[:3, :3].T + back[:3, 3]
    x, y, z = (100 * (in_camera + place[:3, 3])).transpose(2, 0, 1)
    np.testing.assert_allclose(moving, np.stack([x, z, -y], -1), atol=0.05)


def test_the_usual_rate_survives_rounded_times_and_gaps(body: BodyModel) -> None:
    rows = rows_of(60, body)
    rows["t"] = np.round(rows["t"], 3)  # as in Matroska
    rows["t"][40:] += 2.0
    assert motion_of(rows, body, np.eye(4)).fps == pytest.approx(30, rel=1e-3)


def test_angles_do_not_jump_where_a_person_faces_away(body: BodyModel) -> None:
    rows = rows_of(40, body)
    level = np.eye(4)
    level[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # the camera looks along the floor
    upright = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
    turns = Rotation.from_euler("y", 150 + 2.0 * np.arange(40)[:, None], degrees=True)
    rows["global_orient"] = (upright * turns).as_rotvec()
    _, text = bvh.bvh_text(motion_of(rows, body, level)).split("Frame Time: ")
    numbers = np.array([row.split() for row in text.splitlines()[1:]], float)
    assert numbers[:, 5].max() > 220
    assert np.abs(np.diff(numbers[:, 3:], axis=0)).max() < 30


def test_a_full_disk_is_said_and_leaves_nothing(archive: Path) -> None:
    with (
        file_size_limit(3000),
        pytest.raises(PenumbraError, match=r"out: .*walk\.bvh' cannot be written .*has room"),
    ):
        run(Options(archive))
    assert [file.name for file in archive.parent.iterdir()] == [archive.name]
