"""The command as a user meets it: what it writes, publishes, prints and imports."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import run_demo
from engines.body import BodyModel, joints_only
from realtime.config import RunConfig
from realtime.session import Session
from realtime.subscriber import Subscriber
from realtime.view.scene import ViewFrame
from tests.support.paths import ROOT
from tests.support.run_demo import OFFLINE, QUIET, demo, grey_video, start, words
from tests.support.videos import time_stamps_ms, with_variable_rate

FRAMES = 24


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The demo's first frames, twelve hypotheses each."""
    out = tmp_path_factory.mktemp("out") / "demo.npz"
    assert demo("--out", out, "--height", 170, frames=FRAMES, hypotheses=12) == 0
    with np.load(out, allow_pickle=False) as data:
        return dict(data)


def test_the_archive_has_every_array_of_the_contract(archive: dict[str, np.ndarray]) -> None:
    N, K = FRAMES, 12
    shapes = {
        "frame": (N,),
        "t": (N,),
        "found": (N,),
        "joints": (N, 24, 3),
        "joint_cov": (N, 24, 3, 3),
        "joint_visible": (N, 24),
        "hypotheses": (N, K, 24, 3),
        "weights": (N, K),
        "global_orient": (N, 3),
        "body_pose": (N, 69),
        "betas": (N, 10),
        "transl": (N, 3),
        "landmarks": (N, 33, 3),
    }
    assert {key: archive[key].shape for key in shapes} == shapes
    assert archive["frame"].tolist() == list(range(N)) and archive["found"].all()
    meta = json.loads(str(archive["meta"]))
    assert len(meta["joint_names"]) == 24 and meta["K"] == K and meta["fps"] > 0
    assert "openvino" in meta["backend"] or "onnxruntime" in meta["backend"]
    assert meta["stages_ms"]["landmarks"]["p95"] >= meta["stages_ms"]["landmarks"]["p50"] > 0
    assert "interrupted_by" not in meta
    options = {name: meta[name] for name in ("prior", "fitted", "smoothed", "height")}
    assert options == {"prior": "none", "fitted": True, "smoothed": True, "height": 170.0}


def test_the_person_stands_in_front_of_the_camera(archive: dict[str, np.ndarray]) -> None:
    pelvis = archive["joints"][:, 0]
    assert (pelvis[:, 2] > 2).all() and (pelvis[:, 2] < 8).all()
    head, foot = archive["joints"][:, 15, 1], archive["joints"][:, 7:9, 1].mean(1)
    assert (head < foot).all(), "y points down"


def test_covariances_are_positive_definite_and_weights_sum_to_one(
    archive: dict[str, np.ndarray],
) -> None:
    assert (np.linalg.eigvalsh(archive["joint_cov"].astype(float)) > 0).all()
    np.testing.assert_allclose(archive["weights"].sum(1), 1, rtol=1e-5)


def test_best_estimate_is_the_body_of_its_parameters(archive: dict[str, np.ndarray]) -> None:
    rotvec = np.concatenate([archive["global_orient"], archive["body_pose"]], 1).reshape(-1, 24, 3)
    joints = joints_only(BodyModel.load(), rotvec, archive["betas"], archive["transl"])
    np.testing.assert_allclose(joints, archive["joints"], atol=2e-3)  # float32 in the file


def test_few_hypotheses_do_not_make_it_look_certain(tmp_path: Path) -> None:
    covariances = []
    for count in (1, 50):
        out = tmp_path / f"{count}.npz"
        assert demo("--out", out, frames=3, hypotheses=count) == 0
        with np.load(out) as data:
            assert data["hypotheses"].shape[1] == count
            assert data["weights"].sum(1) == pytest.approx(np.ones(3))
            covariances.append(data["joint_cov"])
    np.testing.assert_allclose(covariances[0], covariances[1], rtol=1e-5)


def test_the_demo_says_how_wrong_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(frames=40, hypotheses=30) == 0
    printed = capsys.readouterr().out
    for row in (
        "error of best estimate",
        "error of closest hypothesis",
        "standard deviation",
        "ground truth in 90 % ellipsoid",
    ):
        assert row in printed
    errors = {
        words: [float(number) for number in re.findall(r"\d+\.\d", line)]
        for line in printed.splitlines()
        for words in [re.split(r"  +", line)[0]]
    }
    best, closest = errors["error of best estimate"], errors["error of closest hypothesis"]
    assert all(c < b for b, c in zip(best, closest, strict=True)), printed


def test_a_subscriber_in_another_process_gets_every_message() -> None:
    endpoint = "tcp://127.0.0.1:5597"
    run = ("--demo", "--every-frame", "--headless", "--endpoint", endpoint, "--max-frames", 60)
    with Subscriber(endpoint, latest_only=False, timeout_s=60) as subscriber:
        process = start(*run, hypotheses=8)
        first = subscriber.recv()
        sequence = [first.seq]
        while first.seq + len(sequence) < 60:
            sequence.append(subscriber.recv().seq)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert sequence == list(range(first.seq, 60)) and subscriber.lost == 0
    assert len(first.people) == 1


def test_the_lens_of_a_calibration_reaches_stream_and_image(tmp_path: Path) -> None:
    lens = [-0.3, 0.1, 0.0, 0.0, 0.0]
    matrix = [[300, 0, 160], [0, 300, 120], [0, 0, 1]]
    calibration = {"matrix": matrix, "size": [320, 240], "dist": lens}
    (tmp_path / "camera.json").write_text(json.dumps(calibration))
    config = RunConfig(
        video=str(grey_video(tmp_path / "grey.mp4")),
        every_frame=True,
        calib=tmp_path / "camera.json",
        headless=True,
        endpoint="tcp://127.0.0.1:*",
    )
    views: list[ViewFrame] = []
    with Session(config) as session:
        session.run(views.append)
        assert list(session.outputs.stream_info(session.intrinsics).camera_distortion) == lens
    assert list(views[0].intrinsics.dist) == lens


def test_the_cpu_run_imports_neither_torch_nor_mediapipe() -> None:
    assert demo(frames=1) == 0  # imports the models if that was never done
    heavy = {"torch", "mediapipe", "tensorrt", "open3d", "jax", "smplx", "trainer"}
    code = (
        "import sys, run_demo\n"
        f"assert run_demo.main({words(*OFFLINE, frames=2)}) == 0\n"
        f"heavy = {heavy} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_recording_headless_writes_what_the_window_would_show(tmp_path: Path) -> None:
    record = tmp_path / "view.mp4"
    assert demo("--record", record, frames=10, hypotheses=10) == 0
    capture = cv2.VideoCapture(str(record))
    images = []
    while (grabbed := capture.read())[0]:
        images.append(grabbed[1])
    assert len(images) == 10 and images[0].std() > 10


def test_a_recording_has_the_times_of_its_video(tmp_path: Path) -> None:
    video, out, record = (tmp_path / name for name in ("grey.mp4", "grey.npz", "view.mp4"))
    grey_video(video)
    video.write_bytes(with_variable_rate(video.read_bytes(), (4, 3, 5), (1, 9, 2)))
    assert run_demo.main(words("--video", video, "--out", out, "--record", record, *QUIET)) == 0
    with np.load(out) as data:
        assert set(np.diff(data["t"]).round(3)) == {0.1, 0.9, 0.2}
        np.testing.assert_allclose(time_stamps_ms(record), 1000 * data["t"], atol=0.02)


def test_frames_without_a_person_keep_nan_rows(tmp_path: Path) -> None:
    out, video = tmp_path / "empty.npz", grey_video(tmp_path / "grey.mp4")
    assert run_demo.main(words("--video", video, "--every-frame", "--out", out, *QUIET)) == 0
    with np.load(out) as data:
        assert not data["found"].any() and np.isnan(data["joints"]).all()
        assert len(data["frame"]) == 12


def test_what_a_subscriber_did_not_get_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from realtime import session
    from realtime.stream.publisher import Publisher

    class Stalled(Publisher):
        """A publisher with a subscriber that stopped reading."""

        def __init__(self, endpoint: str, *, allow_lan: bool) -> None:
            super().__init__(endpoint, allow_lan=allow_lan)
            self.stalls = 5

    run = ("--demo", "--every-frame", "--headless", "--endpoint", "tcp://127.0.0.1:*")
    assert run_demo.main(words(*run, frames=1)) == 0
    assert "queue was full" not in capsys.readouterr().out
    monkeypatch.setattr(session, "Publisher", Stalled)
    assert run_demo.main(words(*run, frames=1)) == 0
    assert "a subscriber's queue was full 5 times" in capsys.readouterr().out


def test_the_help_names_every_option_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_demo.parse(["--help"])
    said = re.sub(r"[\s,]+", " ", capsys.readouterr().out)
    options = "cam video demo every-frame size fps hypotheses backend landmarks"
    options += " landmarks-file focal calib body model"
    options += (
        " no-smoothing up height headless record out force no-publish endpoint allow-lan max-frames"
    )
    for option in options.split():
        assert f"--{option} " in said
    assert "128+N" in said and "130 Ctrl-C" in said


def test_a_direction_is_read_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo.parse(["--cam", "0", "--up", "0,-1,0"]).up == (0, -1, 0)
    assert run_demo.parse(["--cam", "0", "--up=-0.1,-1,.2"]).up == (-0.1, -1, 0.2)
    for wrong in ("up", "0,-1", "0,-1,0,0"):
        with pytest.raises(SystemExit):
            run_demo.parse(["--cam", "0", f"--up={wrong}"])
        assert "write it as 0,-1,0" in capsys.readouterr().err


def test_a_size_is_read_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo.parse(["--cam", "0", "--size", "1280x720"]).size == (1280, 720)
    for wrong in ("1280", "1280x", "0x720", "-1x5", "ax5"):
        with pytest.raises(SystemExit):
            run_demo.parse(["--cam", "0", f"--size={wrong}"])
        assert "write it as 1280x720" in capsys.readouterr().err
