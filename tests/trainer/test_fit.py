"""`trainer.fit`: archives and landmarks in, archives out; and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.priors.load import load_prior
from engines.types import JOINT_NAMES, LIMB_LANDMARKS, Estimate, FrameInfo, Landmarks, Roi, World
from engines.uncertainty import CovarianceCalibration
from realtime.archive import Archive
from tests.support.photos import scene, write_photo
from tests.support.random_hypotheses import FACING
from trainer import fit
from trainer.datasets.found_landmarks import read_landmarks
from trainer.estimation.landmark_fit import joint_visibility
from trainer.estimation.objectives import mean_pose, open_objective
from trainer.fit import FitBodiesConfig, find, main, person

CAMERA = Intrinsics(900.0, 900.0, 480.0, 360.0, (960, 720), source="given")
LIMBS = list(LIMB_LANDMARKS.values())


def landmarks_and_joints(body: BodyModel, seed: int) -> tuple[Landmarks, np.ndarray]:
    """A person in a pose of the mixture, of whom every limb joint is known exactly."""
    prior = load_prior("gmm")
    rng = np.random.default_rng(seed)
    from engines.rotations import log_so3

    rotvec = np.zeros((24, 3), np.float32)
    rotvec[1:] = prior.sample(1, rng)[0]  # pyright: ignore[reportAttributeAccessIssue]
    rotvec[0] = log_so3(FACING)
    posed = body.shaped(np.zeros(10, np.float32)).posed(rotvec, np.array([0.1, 0.2, 3.5]))
    points = np.full((33, 2), 480.0)
    points[list(LIMB_LANDMARKS)] = CAMERA.project(posed.joints[LIMBS])
    ones = np.ones(33)
    roi = Roi(np.array([480.0, 360.0]), 600.0, 0.0)
    peak = np.where(np.arange(33) == 7, np.nan, np.linspace(0.4, 0.9, 33))
    found = Landmarks(points, 0 * ones, ones, 0.9 * ones, np.zeros((33, 3)), 1.0, roi, peak=peak)
    return found, posed.joints.astype(float)


@pytest.fixture(scope="module")
def people(body: BodyModel) -> list[tuple[Landmarks, np.ndarray]]:
    return [landmarks_and_joints(body, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def archive(body: BodyModel, people: list[tuple[Landmarks, np.ndarray]], tmp_path_factory) -> Path:
    """Two people in frame 5, nobody in 6, one of them in 7."""
    path = tmp_path_factory.mktemp("run") / "run.npz"
    fit_people = open_objective("smplify", None, body, None, 7)
    estimates = fit_people([(landmarks, CAMERA) for landmarks, _ in people])
    found = [person(one, 3 + i, CAMERA) for i, one in enumerate(estimates)]
    T = np.eye(4)
    T[2, 3] = 1.5
    world = World(T, 0.01 * np.eye(2), 0.1, "given")
    meta = {
        "landmark_network": "heavy",
        "image_size": list(CAMERA.size),
        "camera_matrix": CAMERA.matrix.tolist(),
        "camera_distortion": [],
        "camera": "given",
    }
    with Archive(path, 7, meta) as out:
        out.append(Estimate(FrameInfo(5, 0, 0.5), tuple(found[:2]), world))
        out.append(Estimate(FrameInfo(6, 0, 0.6)))
        out.append(Estimate(FrameInfo(7, 0, 0.7), (found[2],)))
    return path


def landmark_file(path: Path, people: list[tuple[Landmarks, np.ndarray]], **change: object) -> Path:
    arrays: dict[str, object] = {
        "landmarks": np.stack([landmarks.xyv for landmarks, _ in people]),
        "camera_matrix": CAMERA.matrix,
        "image_size": np.array(CAMERA.size),
    }
    arrays |= change
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def aligned(joints: np.ndarray, target: np.ndarray) -> float:
    """Mean error of limb joints, pelvises together, of the same size, metres."""
    x, y = joints[LIMBS] - joints[0], target[LIMBS] - target[0]
    return float(np.linalg.norm(x * np.linalg.norm(y) / np.linalg.norm(x) - y, axis=-1).mean())


@pytest.mark.parametrize("objective", ["smplify", "smplify-x", "anchored"])
def test_an_archive_is_fitted_and_is_an_archive_again(
    archive: Path, people: list[tuple[Landmarks, np.ndarray]], objective, tmp_path: Path
) -> None:
    out = tmp_path / "fitted.npz"
    main(FitBodiesConfig(str(archive), out, objective, hypotheses=60))
    with np.load(archive) as before, np.load(out) as after:
        for name in ("frame", "t", "found", "track_id"):
            np.testing.assert_array_equal(before[name], after[name])
        np.testing.assert_allclose(before["landmarks"], after["landmarks"], atol=1e-4)
        for name in ("T_world_cam", "up_cov", "floor_std", "world_given"):
            np.testing.assert_array_equal(before[name], after[name])
        meta = json.loads(str(after["meta"]))
        assert meta["objective"] == objective and meta["joint_names"] == list(JOINT_NAMES)
        run = json.loads(str(before["meta"]))
        camera = ("image_size", "camera_matrix", "camera_distortion", "camera")
        assert [meta[name] for name in camera] == [run[name] for name in camera]
        assert meta["calibrated"] and meta["starts"] == (
            "flow" if objective == "anchored" else "mean"
        )
        assert CovarianceCalibration.from_json(meta["calibration"]).metrics is not None
        rows = np.flatnonzero(after["found"])
        assert after["hypotheses"].shape == (4, 60, 24, 3) and len(rows) == 3
        errors = [
            aligned(after["joints"][row], target)
            for row, (_, target) in zip(rows, people, strict=True)
        ]
        assert np.mean(errors) < 0.2  # 2D alone, of poses drawn at random
        for row, (landmarks, _) in zip(rows, people, strict=True):
            px = CAMERA.project(after["joints"][row][LIMBS].astype(float))
            away = np.linalg.norm(px - landmarks.points[list(LIMB_LANDMARKS)], axis=-1)
            assert np.median(away) < 25
            np.testing.assert_allclose(after["hypotheses"][row, 0], after["joints"][row], atol=1e-5)
        assert np.isfinite(after["joint_cov"][rows]).all()
        assert (np.linalg.eigvalsh(after["joint_cov"][rows]) > -1e-9).all()
        assert (after["distance_std"][rows] > 0.01).all()
        rays, along = after["ray"][rows], after["distance_std"][rows]
        np.testing.assert_allclose(
            after["common_cov"][rows],
            (along**2)[:, None, None] * rays[:, :, None] * rays[:, None],
            rtol=1e-4,
            atol=1e-9,
        )


def test_landmarks_of_an_archive_from_before_the_common_covariance_are_read(
    archive: Path, tmp_path: Path
) -> None:
    with np.load(archive) as now:
        arrays = {name: now[name] for name in now if name != "common_cov"}
    meta = json.loads(str(arrays["meta"])) | {"format": 4}
    np.savez(tmp_path / "old.npz", **(arrays | {"meta": np.array(json.dumps(meta))}))
    old, new = read_landmarks(tmp_path / "old.npz"), read_landmarks(archive)
    np.testing.assert_array_equal(old.points, new.points)
    assert len(list(old.frames())) == 3


def test_a_fit_can_begin_with_the_flow_and_stay_uncalibrated(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "fitted.npz"
    main(FitBodiesConfig(str(archive), out, starts="flow", calibrate=False, hypotheses=10))
    with np.load(out) as after:
        meta = json.loads(str(after["meta"]))
        assert meta["starts"] == "flow"
        assert meta["calibrated"] is False and meta["calibration"] is None
        assert np.isfinite(after["joint_cov"][after["found"]]).all()


def test_landmarks_alone_are_enough(
    people: list[tuple[Landmarks, np.ndarray]], archive: Path, tmp_path: Path
) -> None:
    source = landmark_file(tmp_path / "landmarks.npz", people)
    out = tmp_path / "fitted.npz"
    main(FitBodiesConfig(str(source), out, hypotheses=5))
    main(FitBodiesConfig(str(archive), tmp_path / "of_archive.npz", hypotheses=5))
    with np.load(out) as bare, np.load(tmp_path / "of_archive.npz") as whole:
        np.testing.assert_array_equal(bare["frame"], [0, 1, 2])
        np.testing.assert_allclose(bare["joints"], whole["joints"][whole["found"]], atol=2e-3)


def test_what_was_fitted_can_be_fitted_again(
    people: list[tuple[Landmarks, np.ndarray]], tmp_path: Path
) -> None:
    source = str(landmark_file(tmp_path / "landmarks.npz", people))
    once, again = tmp_path / "once.npz", tmp_path / "again.npz"
    main(FitBodiesConfig(source, once, hypotheses=5))
    main(FitBodiesConfig(str(once), again, hypotheses=5))
    with np.load(once) as one, np.load(again) as other:
        np.testing.assert_allclose(one["joints"], other["joints"], atol=2e-3)


def test_photos_keep_their_cameras(tmp_path: Path) -> None:
    for name, size in (("anna", (240, 180)), ("bert", (100, 300))):
        write_photo(tmp_path / f"{name}.png", scene(*size))
    config = FitBodiesConfig(str(tmp_path), tmp_path / "out.npz", landmarks="full")
    found, meta = find(config)
    assert [one.intrinsics.size for one in found] == [(240, 180), (100, 300)]
    images = meta["images"]
    assert isinstance(images, list) and "camera_matrix" not in meta
    assert [(one["file"], one["image_size"]) for one in images] == [
        ("anna.png", [240, 180]),
        ("bert.png", [100, 300]),
    ]


def test_what_has_no_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    live = SimpleNamespace(live=True, name="a camera", close=lambda: closed.append(True))
    monkeypatch.setattr(fit, "open_source", lambda _: live)
    with pytest.raises(PenumbraError, match=r"^source: 'a camera' is live and has no end"):
        main(FitBodiesConfig("rtsp://camera", tmp_path / "out.npz"))
    assert closed and not (tmp_path / "out.npz").exists()


def test_what_is_read_is_what_was_archived(
    archive: Path, people: list[tuple[Landmarks, np.ndarray]]
) -> None:
    read = list(read_landmarks(archive).frames())
    assert [frame.frame_id for frame, _, _, _ in read] == [5, 6, 7]
    assert [[number for number, _ in found] for _, found, _, _ in read] == [[3, 4], [], [5]]
    assert read[0][2] == CAMERA and read[0][1][0][1].network == "heavy"
    world = read[0][3]
    assert world is not None and world.given and read[1][3] is None
    before, after = people[2][0], read[2][1][0][1]
    np.testing.assert_allclose(after.points, before.points, atol=1e-3)
    for name in ("visibility", "presence", "peak"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-6)


def test_a_refit_is_told_where_an_archive_knows_no_heatmaps(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The flow is given heatmaps' peaks; archives before format 6 do not have them."""
    with np.load(archive) as now:
        arrays = {name: now[name] for name in now if not name.startswith("landmark_")}
    np.savez(tmp_path / "old.npz", **arrays)
    for source, warned in ((archive, False), (tmp_path / "old.npz", True)):
        caplog.clear()
        find(FitBodiesConfig(str(source), tmp_path / "out.npz", objective="anchored"))
        assert ("without the peaks of their heatmaps" in caplog.text) is warned
        find(FitBodiesConfig(str(source), tmp_path / "out.npz"))
    assert caplog.text.count("peaks") == 1, "what begins at the mean pose needs none"


def test_frames_that_do_not_follow_each_other_are_no_motion(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="source: nobody is in 3 successive frames"):
        main(FitBodiesConfig(str(archive), tmp_path / "out.npz", objective="humor"))
    assert not (tmp_path / "out.npz").exists()


WRONG = {
    "camera": ({"camera_matrix": None}, "camera_matrix"),
    "shape": ({"landmarks": np.zeros((2, 17, 3))}, "33"),
    "nobody": ({"landmarks": np.full((2, 33, 3), np.nan)}, "nobody"),
    "size": ({"image_size": np.array([3])}, "source"),
    "lens": ({"camera_matrix": np.zeros((3, 3))}, "camera_matrix"),
    "rows": ({"frame": np.arange(9)}, "frame"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_file_is_refused_with_a_sentence(
    mistake: str, people: list[tuple[Landmarks, np.ndarray]], tmp_path: Path
) -> None:
    change, word = WRONG[mistake]
    source = landmark_file(tmp_path / "landmarks.npz", people, **change)
    with pytest.raises(PenumbraError, match=word) as error:
        main(FitBodiesConfig(str(source), tmp_path / "out.npz"))
    assert str(error.value).startswith("source: ") and str(error.value).endswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["landmarks.npz"], "no archive is left"


def test_wrong_options_are_refused(archive: Path, tmp_path: Path) -> None:
    config = FitBodiesConfig(str(archive), tmp_path / "out.npz")
    for change, start in (
        ({"hypotheses": 0}, "hypotheses: "),
        ({"objective": "smplify-x", "prior": "none"}, "prior: "),
        ({"objective": "anchored", "starts": "flow"}, "starts: "),
        ({"objective": "smplify-x", "prior": "gmm"}, "prior: "),
        ({"prior": "abacus"}, "prior: "),
        ({"focal": 900.0}, "focal: "),
        ({"source": str(tmp_path / "none.npz")}, "source: "),
        ({"out": archive}, "out: "),
    ):
        with pytest.raises(PenumbraError) as error:
            main(replace(config, **change))
        assert str(error.value).startswith(start), (change, error.value)
        assert not (tmp_path / "out.npz").exists()


def test_joints_have_the_visibility_of_what_is_near() -> None:
    visibility = np.full(33, 0.9)
    visibility[[15, 19]] = 0.1  # the left hand
    joints = joint_visibility(visibility)
    hidden = [JOINT_NAMES[i] for i in np.flatnonzero(joints < 0.5)]
    assert hidden == ["left_wrist", "left_hand"]
    assert mean_pose().shape == (24, 3, 3)
