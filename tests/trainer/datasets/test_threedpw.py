"""3DPW's own pickles, made small: geometry against scipy, and nothing in them gets to run."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.body import BodyModel, joints_only
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from trainer.datasets.open import open_dataset
from trainer.datasets.people import COCO_18

FRAMES = 4
K = np.array([[1961.9, 0.0, 540.0], [0.0, 1969.2, 960.0], [0.0, 0.0, 1.0]])


def sequence(body: BodyModel, name: str = "downtown_walk_00", people: int = 2) -> dict[str, object]:
    """People who stand about in a world that a moving camera sees; detections are their true limb
    joints.
    """
    rng = np.random.default_rng(3)
    poses = rng.normal(0, 0.3, (people, FRAMES, 24, 3))
    betas = rng.normal(0, 1, (people, 10))
    trans = rng.normal(0, 1, (people, FRAMES, 3))
    joints = np.stack(
        [joints_only(body, p, b, t) for p, b, t in zip(poses, betas, trans, strict=True)]
    ).astype(float)
    cam_poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    cam_poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.4, (FRAMES, 3))).as_matrix()
    cam_poses[:, :3, 3] = (0.2, -0.1, 9.0)
    camera = np.einsum("fab,pfjb->pfja", cam_poses[:, :3, :3], joints) + cam_poses[:, None, :3, 3]
    px = camera @ K.T
    px = px[..., :2] / px[..., 2:]
    poses2d = np.zeros((people, FRAMES, 3, 18))
    for i, point in enumerate(COCO_18):
        if point in JOINT_NAMES:
            poses2d[:, :, :2, i], poses2d[:, :, 2, i] = px[:, :, JOINT_NAMES.index(point)], 0.8
    valid = np.ones((people, FRAMES), np.uint8)
    valid[0, 1] = 0
    poses2d[-1, 3] = 0
    return {
        "sequence": name,
        "poses": list(poses.reshape(people, FRAMES, 72)),
        "betas": list(betas),
        "genders": ["m", "f"][:people],
        "trans": list(trans),
        "jointPositions": list(joints.reshape(people, FRAMES, 72)),
        "poses2d": list(poses2d),
        "cam_poses": cam_poses,
        "cam_intrinsics": K,
        "campose_valid": list(valid),
        "v_template_clothed": [np.zeros((5, 3))] * people,
        "texture_maps": [],
        "img_frame_ids": np.arange(FRAMES) * 2,
    }


def written(
    root: Path, data: object, split: str = "test", name: str = "a.pkl", protocol: int = 2
) -> Path:
    folder = root / "sequenceFiles" / split
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(data, protocol=protocol))
    return root


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_rows_are_people_with_a_camera_and_detections(
    tmp_path: Path, body: BodyModel, protocol: int
) -> None:
    people = open_dataset("3dpw", written(tmp_path, sequence(body), protocol=protocol), "test")
    frames = [int(image.stem.removeprefix("image_")) for image in people.images]
    assert frames == [0, 2, 3, 0, 1, 2]
    assert people.images[1] == tmp_path / "imageFiles" / "downtown_walk_00" / "image_00002.jpg"
    assert people.gender == ("male",) * 3 + ("female",) * 3
    assert people.has_smpl.all() and people.placed
    np.testing.assert_array_equal(people.K, np.tile(K, (6, 1, 1)))


def test_the_labels_in_the_camera_frame_give_the_joints_in_the_camera_frame(
    tmp_path: Path, body: BodyModel
) -> None:
    """Turning the pose of the root must agree with moving the joints by the camera's matrix."""
    people = open_dataset("3dpw", written(tmp_path, sequence(body)), "test")
    assert people.joints_cam is not None
    from_labels = joints_only(body, people.rotvec, people.betas, np.zeros(3))
    differences = from_labels - from_labels[:, :1]
    np.testing.assert_allclose(differences, people.joints_cam - people.joints_cam[:, :1], atol=1e-5)
    assert people.joints_cam[..., 2].min() > 3
    px = people.joints_cam @ K.T
    detected = people.keypoints_as_smpl()
    known = np.isfinite(detected).all(-1)
    assert known.any(0).sum() == 12 and known[:, JOINT_NAMES.index("left_wrist")].all()
    np.testing.assert_allclose(
        (px[..., :2] / px[..., 2:])[known], detected[known][:, :2], atol=1e-6
    )


def test_boxes_are_squares_about_the_detections(tmp_path: Path, body: BodyModel) -> None:
    data = sequence(body, people=1)
    points = np.zeros((FRAMES, 3, 18))
    points[:, :, 3], points[:, :, 7] = (100, 200, 0.3), (140, 350, 0.9)
    points[:, :2, 9] = 9999  # confidence 0: not detected
    people = open_dataset("3dpw", written(tmp_path, data | {"poses2d": [points]}), "test")
    np.testing.assert_array_equal(people.center[0], [120, 275])
    assert people.side[0] == pytest.approx(1.2 * 150)


def test_sequences_are_joined_and_splits_kept_apart(tmp_path: Path, body: BodyModel) -> None:
    written(tmp_path, sequence(body, "b", people=1), name="b.pkl")
    written(tmp_path, sequence(body, "a", people=1), name="a.pkl")
    written(tmp_path, sequence(body, "v"), split="validation")
    test, val = open_dataset("3dpw", tmp_path, "test"), open_dataset("3dpw", tmp_path, "val")
    assert [image.parent.name for image in test.images] == ["a", "a", "b", "b"]
    assert {image.parent.name for image in val.images} == {"v"}
    with pytest.raises(PenumbraError, match=r"neither sequenceFiles/train nor 3dpw_train\.npz"):
        open_dataset("3dpw", tmp_path, "train")
    with pytest.raises(PenumbraError, match="split: dev is not one of 3DPW's"):
        open_dataset("3dpw", tmp_path, "dev")


def test_preprocessed_files_are_read_too(tmp_path: Path) -> None:
    boxes = {
        "imgname": np.array(["imageFiles/a/image_00000.jpg"]),
        "center": np.array([[5.0, 6.0]]),
    }
    spin = boxes | {
        "scale": np.array([1.5]),
        "pose": np.zeros((1, 72)),
        "shape": np.ones((1, 10)),
        "gender": ["f"],
    }
    np.savez(tmp_path / "3dpw_test.npz", **spin)  # pyright: ignore[reportArgumentType]
    people = open_dataset("3dpw", tmp_path, "test")
    assert people.side[0] == 300 and people.has_smpl.all() and people.gender == ("female",)
    assert people.images[0] == tmp_path / "imageFiles" / "a" / "image_00000.jpg"
    flags = {"has_body_pose": np.ones(1), "has_betas": np.ones(1)}
    prohmr = (
        boxes
        | flags
        | {"scale": np.array([310.0]), "body_pose": np.zeros((1, 72)), "betas": np.ones((1, 10))}
    )
    np.savez(tmp_path / "mine.npz", **prohmr)  # pyright: ignore[reportArgumentType]
    assert open_dataset("3dpw", tmp_path / "mine.npz", "test").side[0] == 310


class Payload:
    """Pickles to a call."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


def test_a_pickle_that_would_run_something_is_refused_and_does_not(
    tmp_path: Path, body: BodyModel
) -> None:
    marker = tmp_path / "marker"
    command = f"touch {marker}"
    for payload in (Payload(os.system, command), Payload(exec, f"open({str(marker)!r}, 'w')")):
        evil = sequence(body) | {"texture_maps": payload}
        with pytest.raises(
            PenumbraError, match=r"a\.pkl: not a sequence of 3DPW: .*refused and not run"
        ):
            open_dataset("3dpw", written(tmp_path, evil), "test")
        assert not marker.exists()
        pickle.loads(pickle.dumps(evil))  # it would have run
        assert marker.exists()
        marker.unlink()


def test_stand_ins_for_foreign_classes_are_no_numbers(tmp_path: Path, body: BodyModel) -> None:
    """The reader, made for SMPL's files, lets chumpy's classes through as inert objects; 3DPW has
    none.
    """
    folder = written(tmp_path, sequence(body)) / "sequenceFiles" / "test"
    text = pickle.dumps(sequence(body) | {"cam_intrinsics": "HERE"}, protocol=0)
    with_chumpy = text.replace(b"VHERE\n", b"cchumpy.ch\nCh\n(tR")
    assert with_chumpy != text
    (folder / "a.pkl").write_bytes(with_chumpy)
    with pytest.raises(PenumbraError, match="cam_intrinsics holds object, not numbers"):
        open_dataset("3dpw", tmp_path, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cam_poses": None}, "lacks cam_poses"),
        ({"poses2d": None, "betas": None}, "lacks betas, poses2d"),
        (
            {"cam_poses": np.zeros((FRAMES, 3, 4))},
            r"cam_poses has shape \(4, 3, 4\), not \('any', 4, 4\)",
        ),
        (
            {"cam_poses": np.full((FRAMES, 4, 4), np.nan)},
            "cam_poses holds numbers that are not finite",
        ),
        ({"poses": [np.zeros((FRAMES, 72))]}, "are not lists of the same length"),
        ({"genders": 3}, "are not lists of the same length"),
        ({"poses": [np.zeros((FRAMES + 1, 72))] * 2}, r"poses has shape \(5, 72\)"),
        ({"poses2d": [np.zeros((FRAMES, 18, 3))] * 2}, "poses2d has shape"),
        ({"betas": [np.zeros(4)] * 2}, "betas has 4 numbers"),
        ({"jointPositions": ["a", "b"]}, "jointPositions holds <U1"),
        ({"cam_intrinsics": [[1.0, 2.0], [3.0]]}, "cam_intrinsics is not an array"),
        ({"campose_valid": [np.zeros(FRAMES)] * 2}, "no image has an aligned camera"),
    ],
)
def test_wrong_sequences_are_named(
    tmp_path: Path, body: BodyModel, changes: dict[str, object], message: str
) -> None:
    data = {key: value for key, value in (sequence(body) | changes).items() if value is not None}
    with pytest.raises(PenumbraError, match=message):
        open_dataset("3dpw", written(tmp_path, data), "test")


@pytest.mark.parametrize(
    "content", [b"", b"junk", pickle.dumps([1, 2]), pickle.dumps({"a": np.zeros(9)})[:-20]]
)
def test_broken_pickles_are_named(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "sequenceFiles" / "test"
    folder.mkdir(parents=True)
    with pytest.raises(PenumbraError, match=r"holds no \.pkl file"):
        open_dataset("3dpw", tmp_path, "test")
    (folder / "a.pkl").write_bytes(content)
    with pytest.raises(PenumbraError, match=r"a\.pkl: not a sequence of 3DPW"):
        open_dataset("3dpw", tmp_path, "test")
