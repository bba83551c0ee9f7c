"""ProHMR's and SPIN's files as people have them, made small: columns arrive where they belong,
wrong ones are named.
"""

from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, LIMB_JOINTS
from trainer.datasets.npz_forms import read_prohmr, read_spin
from trainer.datasets.open import open_dataset
from trainer.datasets.people import (
    BODY_25,
    COCO_18,
    EXTRA_19,
    SPIN_24,
    People,
    in_smpl_order,
    no_smpl,
)

Columns = dict[str, np.ndarray | None]


def prohmr_columns(count: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "imgname": np.array([f"images/{i}.jpg" for i in range(count)]),
        "center": rng.uniform(100, 300, (count, 2)),
        "scale": rng.uniform(150, 400, count),
        "body_pose": rng.normal(0, 0.3, (count, 72)).astype(np.float32),
        "has_body_pose": np.array([1.0, 0.0, 1.0])[:count],
        "betas": rng.normal(0, 1, (count, 10)),
        "has_betas": np.array([1.0, 1.0, 0.0])[:count],
        "body_keypoints_2d": rng.uniform(0.1, 0.9, (count, 25, 3)),
        "extra_keypoints_2d": np.zeros((count, 19, 3)),
        "body_keypoints_3d": rng.uniform(0.1, 0.9, (count, 25, 4)),
        "extra_keypoints_3d": rng.uniform(0.1, 0.9, (count, 19, 4)),
        "gender": np.array(["m", "f", "x"])[:count],
    }


def spin_columns(count: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "imgname": np.array([f"S9/{i}.jpg".encode() for i in range(count)]),
        "center": rng.uniform(100, 300, (count, 2)),
        "scale": rng.uniform(0.8, 2.0, count),
        "pose": rng.normal(0, 0.3, (count, 72)),
        "shape": rng.normal(0, 1, (count, 10)),
        "S": np.concatenate(
            [rng.normal(0, 0.5, (count, 24, 3)), rng.random((count, 24, 1)) < 0.7], -1
        ),
        "part": rng.uniform(0.1, 0.9, (count, 24, 3)),
    }


def written(path: Path, columns: dict[str, np.ndarray], **changes: np.ndarray | None) -> Path:
    kept = {key: value for key, value in (columns | changes).items() if value is not None}
    np.savez(path, **kept)  # pyright: ignore[reportArgumentType]
    return path


def test_the_skeletons_have_their_lengths_and_every_limb_joint() -> None:
    lengths = {COCO_18: 18, BODY_25: 25, EXTRA_19: 19, SPIN_24: 24}
    for names, length in lengths.items():
        assert len(names) == len(set(names)) == length
        assert {JOINT_NAMES[joint] for joint in LIMB_JOINTS} <= set(names)
    # From the sources: OpenPose's right wrist and left ankle, LSP's right ankle and H36M's root.
    assert COCO_18[4] == BODY_25[4] == "right_wrist" and COCO_18[13] == BODY_25[14] == "left_ankle"
    assert BODY_25[8] == "mid_hip" and EXTRA_19[0] == "right_ankle" and EXTRA_19[14] == "pelvis"
    # But for the middle of the hips and the feet both OpenPose skeletons are the same.
    assert tuple(name for name in BODY_25 if name != "mid_hip")[:18] == COCO_18


def test_joints_are_found_by_name_and_the_more_confident_of_two_counts() -> None:
    names = ("left_knee", "nose", "left_knee", "head")
    values = np.arange(8.0).reshape(2, 4, 1)
    confidence = np.array([[0.2, 1.0, 0.3, 0.0], [0.9, 1.0, 0.3, 0.5]])
    out = in_smpl_order(values, names, confidence)[..., 0]
    knee, head = JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("head")
    assert out[:, knee].tolist() == [2.0, 4.0]
    assert np.isnan(out[0, head]) and out[1, head] == 7.0
    assert np.isfinite(out).sum() == 3


def test_prohmr_columns_arrive(tmp_path: Path) -> None:
    columns = prohmr_columns()
    people = read_prohmr(written(tmp_path / "a.npz", columns), tmp_path / "photos")
    assert people.images[2] == tmp_path / "photos" / "images" / "2.jpg"
    np.testing.assert_array_equal(people.center, columns["center"])
    np.testing.assert_array_equal(people.side, columns["scale"])
    assert people.has_smpl.tolist() == [True, False, False]  # both flags must be set
    np.testing.assert_array_equal(people.rotvec[0], columns["body_pose"][0].reshape(24, 3))
    np.testing.assert_array_equal(people.betas[0], columns["betas"][0])
    assert np.isnan(people.rotvec[1:]).all() and np.isnan(people.betas[1:]).all()
    assert people.gender == ("male", "female", "") and people.K is None and not people.placed
    # All 2D points here are detected ones; in 3D the ambiguous detected joints give way to the
    # extra ones.
    elbow = JOINT_NAMES.index("right_elbow")
    np.testing.assert_array_equal(
        people.keypoints_as_smpl()[:, elbow], columns["body_keypoints_2d"][:, 3]
    )
    np.testing.assert_array_equal(
        people.joints_as_smpl()[:, elbow], columns["extra_keypoints_3d"][:, 7, :3]
    )
    assert people.joints_cam is not None and np.isnan(people.joints_cam[:, 1:15]).all()


def test_prohmr_needs_no_more_than_images_and_boxes(tmp_path: Path) -> None:
    columns = prohmr_columns()
    few = {key: columns[key] for key in ("imgname", "center")}
    path = written(tmp_path / "a.npz", few, scale=np.array([[10.0, 20], [40, 30], [5, 5]]))
    people = read_prohmr(path, tmp_path)
    assert people.side.tolist() == [20, 40, 5]
    assert not people.has_smpl.any() and people.gender is None
    assert people.joints_cam is None and people.keypoints_2d is None
    assert np.isnan(people.joints_as_smpl()).all() and np.isnan(people.keypoints_as_smpl()).all()
    unflagged = read_prohmr(written(tmp_path / "b.npz", columns, has_betas=None), tmp_path)
    assert not unflagged.has_smpl.any()


def test_spin_columns_arrive(tmp_path: Path) -> None:
    columns = spin_columns()
    people = read_spin(written(tmp_path / "a.npz", columns), tmp_path)
    assert people.images[1] == tmp_path / "S9" / "1.jpg"
    np.testing.assert_allclose(people.side, 200 * columns["scale"])
    assert people.has_smpl.all()
    np.testing.assert_array_equal(people.rotvec.reshape(3, 72), columns["pose"])
    given = columns["S"][..., 3] > 0
    assert people.joints_cam is not None
    np.testing.assert_array_equal(np.isfinite(people.joints_cam).all(-1), given)
    np.testing.assert_array_equal(people.joints_cam[given], columns["S"][given, :3])
    ankle = JOINT_NAMES.index("right_ankle")
    np.testing.assert_array_equal(people.keypoints_as_smpl()[:, ankle], columns["part"][:, 0])


def test_spin_rows_without_labels_are_told_apart(tmp_path: Path) -> None:
    columns = spin_columns()
    columns["shape"][2, 4] = np.nan
    flagged = read_spin(
        written(tmp_path / "a.npz", columns, has_smpl=np.array([0, 1, 1])), tmp_path
    )
    assert flagged.has_smpl.tolist() == [False, True, False]
    bare = read_spin(written(tmp_path / "b.npz", columns, pose=None, shape=None), tmp_path)
    assert not bare.has_smpl.any() and bare.joints_cam is not None


def test_some_rows_are_a_dataset_again(tmp_path: Path) -> None:
    people = read_prohmr(written(tmp_path / "a.npz", prohmr_columns()), tmp_path)
    some = people.rows(np.array([2, 0]))
    assert some.images == (people.images[2], people.images[0]) and some.gender == ("", "male")
    np.testing.assert_array_equal(some.side, people.side[[2, 0]])
    np.testing.assert_array_equal(some.keypoints_as_smpl(), people.keypoints_as_smpl()[[2, 0]])


def test_a_loader_that_gives_wrong_shapes_is_caught() -> None:
    with pytest.raises((AssertionError, TypeError), match="center"):
        People(Path(), (Path("a"), Path("b")), np.zeros((1, 2)), np.ones(2), *no_smpl(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"center": None}, "lacks center"),
        ({"center": None, "imgname": None}, "lacks imgname, center"),
        ({"center": np.zeros((3, 3))}, r"center has shape \(3, 3\), not \(3, 2\)"),
        ({"scale": np.zeros(3)}, "row 0 has no sensible box"),
        ({"scale": np.array([1.0, np.nan, 1.0])}, "row 1 has no sensible box"),
        ({"scale": np.ones(2)}, "scale has shape"),
        ({"imgname": np.arange(3)}, "imgname is int64"),
        ({"imgname": np.array([b"\xff", b"a", b"b"])}, "imgname is not text"),
        ({"imgname": np.array([], "U1")}, "holds no person"),
        ({"imgname": np.array([{}, 1, 2], object)}, "not an .npz of plain arrays"),
        ({"body_pose": np.zeros((3, 69))}, r"body_pose has shape \(3, 69\)"),
        ({"body_pose": np.full((3, 72), "x")}, "body_pose holds <U1"),
        ({"betas": np.zeros((3, 16))}, "betas has shape"),
        ({"extra_keypoints_2d": np.zeros((3, 25, 3))}, "extra_keypoints_2d has shape"),
        ({"body_keypoints_3d": np.zeros((3, 25, 3))}, "body_keypoints_3d has shape"),
    ],
)
def test_wrong_prohmr_files_are_named(tmp_path: Path, changes: Columns, message: str) -> None:
    with pytest.raises(PenumbraError, match=message) as refusal:
        read_prohmr(written(tmp_path / "wrong.npz", prohmr_columns(), **changes), tmp_path)
    assert "wrong.npz" in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"S": np.zeros((3, 24, 3))}, "S has shape"),
        ({"pose": None}, "has shape without its companion"),
        ({"part": np.zeros((3, 19, 3))}, "part has shape"),
        ({"has_smpl": np.ones(2)}, "has_smpl has shape"),
        ({"scale": np.ones((3, 2))}, "scale has shape"),
    ],
)
def test_wrong_spin_files_are_named(tmp_path: Path, changes: Columns, message: str) -> None:
    with pytest.raises(PenumbraError, match=message):
        read_spin(written(tmp_path / "wrong.npz", spin_columns(), **changes), tmp_path)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(PenumbraError, match=r"broken\.npz: not an \.npz"):
        read_prohmr(tmp_path / "broken.npz", tmp_path)


def test_a_damaged_column_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **prohmr_columns())  # pyright: ignore[reportArgumentType]
    damaged = bytearray((tmp_path / "a.npz").read_bytes())
    damaged[200:400] = bytes(200)
    (tmp_path / "a.npz").write_bytes(damaged)
    with pytest.raises(PenumbraError, match=r"a\.npz: not an \.npz"):
        read_prohmr(tmp_path / "a.npz", tmp_path)


def test_human36m_is_found_by_the_usual_names_in_either_form(tmp_path: Path) -> None:
    spin, prohmr = spin_columns(), prohmr_columns()
    written(tmp_path / "h36m_valid_protocol2.npz", spin, pose=None, shape=None)
    bare = open_dataset("h36m", tmp_path, "test")
    assert not bare.has_smpl.any() and bare.images[0] == tmp_path / "S9" / "0.jpg"
    np.testing.assert_allclose(bare.side, 200 * spin["scale"])
    written(tmp_path / "h36m_val_p2.npz", prohmr)
    other = open_dataset("h36m", tmp_path, "p2", images=tmp_path / "elsewhere")
    np.testing.assert_allclose(other.side, prohmr["scale"])
    assert other.images[0] == tmp_path / "elsewhere" / "images" / "0.jpg"
    written(tmp_path / "h36m_mosh_valid_p2.npz", spin)
    assert open_dataset("h36m", tmp_path, "test").has_smpl.all()  # labels are preferred
    assert (
        open_dataset("h36m", tmp_path / "h36m_valid_protocol2.npz", "test").source.name
        == "h36m_valid_protocol2.npz"
    )
    with pytest.raises(PenumbraError, match="has none of h36m_mosh_train"):
        open_dataset("h36m", tmp_path, "train")
    with pytest.raises(PenumbraError, match=r"split: p3 is not one of Human3\.6M's"):
        open_dataset("h36m", tmp_path, "p3")


def test_files_of_neither_form_or_of_both_are_refused(tmp_path: Path) -> None:
    spin, prohmr = spin_columns(), prohmr_columns()
    both, neither = spin | prohmr, {key: spin[key] for key in ("imgname", "center", "scale")}
    for name, columns in {"both": both, "neither": neither}.items():
        path = written(tmp_path / f"{name}.npz", columns)
        with pytest.raises(PenumbraError, match=f"has columns of {name}"):
            open_dataset("h36m", path, "test")


def test_datasets_are_opened_by_name(tmp_path: Path) -> None:
    written(tmp_path / "coco_val.npz", prohmr_columns())
    by_split = open_dataset("prohmr", tmp_path, "coco_val")
    by_file = open_dataset("prohmr", tmp_path / "coco_val.npz", "")
    assert by_split.images == by_file.images and by_split.images[0] == tmp_path / "images" / "0.jpg"
    with pytest.raises(PenumbraError, match=r"lsp\.npz: there is no such dataset file"):
        open_dataset("prohmr", tmp_path, "lsp")
    with pytest.raises(
        PenumbraError, match=r"dataset: amass has poses and no images.*trainer\.mocap"
    ):
        open_dataset("amass", tmp_path, "test")
    with pytest.raises(
        PenumbraError, match="dataset: coco is unknown; name one of 3dpw, h36m, prohmr"
    ):
        open_dataset("coco", tmp_path, "test")
    with pytest.raises(PenumbraError, match=r"root: .*nowhere does not exist"):
        open_dataset("3dpw", tmp_path / "nowhere", "test")
