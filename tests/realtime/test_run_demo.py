"""The command line as a user meets it: what it writes, what it imports, and one sentence for every
mistake.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import run_demo
from realtime.subscriber import Subscriber
from tests.support.paths import ROOT
from tests.support.synthetic_smpl import synthetic_smpl

FRAMES = 24
QUIET = ["--headless", "--no-publish"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The demo's first frames through the offline contract, twelve hypotheses."""
    out = tmp_path_factory.mktemp("out") / "demo.npz"
    arguments = [
        "--demo",
        "--every-frame",
        "--out",
        str(out),
        "--hypotheses",
        "12",
        "--max-frames",
        str(FRAMES),
        *QUIET,
    ]
    assert run_demo.main(arguments) == 0
    with np.load(out, allow_pickle=False) as data:
        return dict(data)


def test_the_archive_has_every_array_of_the_contract(archive: dict[str, np.ndarray]) -> None:
    N, K = FRAMES, 12
    shapes = {
        "frame": (N,), "t": (N,), "found": (N,), "joints": (N, 24, 3), "joint_cov": (N, 24, 3, 3), "joint_visible": (N, 24),
        "hypotheses": (N, K, 24, 3), "weights": (N, K), "global_orient": (N, 3), "body_pose": (N, 69), "betas": (N, 10),
        "transl": (N, 3), "landmarks": (N, 33, 3),
    }  # fmt: skip
    assert {key: archive[key].shape for key in shapes} == shapes
    assert archive["frame"].tolist() == list(range(N)) and archive["found"].all()
    meta = json.loads(str(archive["meta"]))
    assert len(meta["joint_names"]) == 24 and meta["K"] == K and meta["fps"] > 0
    assert "openvino" in meta["backend"] or "onnxruntime" in meta["backend"]
    assert meta["stages_ms"]["landmarks"]["p95"] >= meta["stages_ms"]["landmarks"]["p50"] > 0


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
    from engines.body import BodyModel, joints_only

    rotvec = np.concatenate([archive["global_orient"], archive["body_pose"]], 1).reshape(-1, 24, 3)
    joints = joints_only(BodyModel.load(), rotvec, archive["betas"], archive["transl"])
    np.testing.assert_allclose(joints, archive["joints"], atol=2e-3)  # float32 in the file


def test_few_hypotheses_do_not_make_it_look_certain(tmp_path: Path) -> None:
    spread = []
    for count in ("1", "50"):
        out = tmp_path / f"{count}.npz"
        arguments = [
            "--demo",
            "--every-frame",
            "--out",
            str(out),
            "--hypotheses",
            count,
            "--max-frames",
            "3",
            *QUIET,
        ]
        assert run_demo.main(arguments) == 0
        with np.load(out) as data:
            assert data["hypotheses"].shape[1] == int(count) and data["weights"].sum(
                1
            ) == pytest.approx(np.ones(3))
            spread.append(data["joint_cov"])
    np.testing.assert_allclose(spread[0], spread[1], rtol=1e-5)


def test_the_demo_says_how_wrong_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_demo.main(
            ["--demo", "--every-frame", "--max-frames", "40", "--hypotheses", "30", *QUIET]
        )
        == 0
    )
    printed = capsys.readouterr().out
    for row in (
        "error of best estimate",
        "error of best hypothesis",
        "standard deviation",
        "ground truth in 90 % ellipsoid",
    ):
        assert row in printed


def test_a_subscriber_in_another_process_gets_every_message() -> None:
    command = [
        sys.executable,
        "run_demo.py",
        "--demo",
        "--every-frame",
        "--headless",
        "--hypotheses",
        "8",
    ]
    with Subscriber("tcp://127.0.0.1:5597", latest_only=False, timeout_s=60) as subscriber:
        process = subprocess.Popen(
            [*command, "--endpoint", "tcp://127.0.0.1:5597", "--max-frames", "60"], cwd=ROOT
        )
        first = subscriber.recv()
        sequence = [first.seq]
        while first.seq + len(sequence) < 60:
            sequence.append(subscriber.recv().seq)
        assert process.wait(60) == 0
    assert sequence == list(range(first.seq, 60)) and subscriber.lost == 0
    assert len(first.people) == 1


def test_the_lens_of_a_calibration_reaches_stream_and_picture(tmp_path: Path) -> None:
    from realtime.config import RunConfig
    from realtime.session import Session
    from realtime.view.scene import ViewFrame

    lens = [-0.3, 0.1, 0.0, 0.0, 0.0]
    calibration = {
        "matrix": [[300, 0, 160], [0, 300, 120], [0, 0, 1]],
        "size": [320, 240],
        "dist": lens,
    }
    (tmp_path / "camera.json").write_text(json.dumps(calibration))
    config = RunConfig(
        video=str(_video(tmp_path / "grey.mp4")),
        every_frame=True,
        calib=tmp_path / "camera.json",
        headless=True,
        endpoint="tcp://127.0.0.1:*",
    )
    views: list[ViewFrame] = []
    with Session(config) as session:
        session.run(views.append)
        assert list(session._info.camera_distortion) == lens
    assert list(views[0].intrinsics.dist) == lens


def test_the_cpu_run_imports_neither_torch_nor_mediapipe() -> None:
    run_demo.main(
        ["--demo", "--every-frame", "--max-frames", "1", *QUIET]
    )  # imports the models if that was never done
    code = (
        "import sys, run_demo\n"
        "assert run_demo.main(['--demo','--every-frame','--max-frames','2','--headless','--no-publish']) == 0\n"
        "heavy = {'torch', 'mediapipe', 'tensorrt', 'open3d', 'jax', 'smplx', 'trainer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_recording_headless_writes_what_the_window_would_show(tmp_path: Path) -> None:
    record = tmp_path / "view.mp4"
    arguments = [
        "--demo",
        "--every-frame",
        "--max-frames",
        "10",
        "--hypotheses",
        "10",
        "--record",
        str(record),
        *QUIET,
    ]
    assert run_demo.main(arguments) == 0
    capture = cv2.VideoCapture(str(record))
    pictures = []
    while (grabbed := capture.read())[0]:
        pictures.append(grabbed[1])
    assert len(pictures) == 10 and pictures[0].std() > 10


def _video(path: Path, frames: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for i in range(frames):
        writer.write(np.full((240, 320, 3), 10 * i, np.uint8))
    writer.release()
    return path


def test_frames_without_anybody_keep_nan_rows(tmp_path: Path) -> None:
    out = tmp_path / "nobody.npz"
    arguments = [
        "--video",
        str(_video(tmp_path / "grey.mp4")),
        "--every-frame",
        "--out",
        str(out),
        *QUIET,
    ]
    assert run_demo.main(arguments) == 0
    with np.load(out) as data:
        assert (
            not data["found"].any() and np.isnan(data["joints"]).all() and len(data["frame"]) == 12
        )


@pytest.mark.parametrize(
    "refused",
    [["--backend", "tensorrt"], ["--record", "view.avi"], ["--endpoint", "tcp://nowhere:x"]],
)
def test_a_start_that_fails_leaves_an_earlier_result(refused: list[str], tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    out.write_bytes(b"of an earlier run")
    assert (
        run_demo.main(["--demo", "--headless", "--every-frame", "--out", str(out), *refused]) == 2
    )
    assert out.read_bytes() == b"of an earlier run" and [
        path.name for path in tmp_path.iterdir()
    ] == ["walk.npz"]


def test_ctrl_c_in_the_window_closes_nothing_under_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from realtime.view import viewer

    class Window:
        """Shows a few frames; then the user presses Ctrl-C in the terminal."""

        def __init__(self, faces: object) -> None:
            self.shown = threading.Semaphore(0)

        def show(self, frame: object) -> None:
            self.shown.release()

        def run(self) -> None:
            for _ in range(3):
                assert self.shown.acquire(timeout=60)
            raise KeyboardInterrupt

        def close(self) -> None:
            pass

    monkeypatch.setattr(viewer, "why_no_window", lambda: None)
    monkeypatch.setattr(viewer, "Viewer", Window)
    out = tmp_path / "out.npz"
    assert run_demo.main(["--demo", "--no-publish", "--hypotheses", "2", "--out", str(out)]) == 130
    assert not [
        thread.name for thread in threading.enumerate() if thread.name in ("pipeline", "capture")
    ]
    with np.load(out) as data:
        meta = json.loads(str(data["meta"]))
        assert len(data["frame"]) >= 3
    assert (
        meta["interrupted_by"] == "KeyboardInterrupt"
        and meta["fps"] > 0
        and "camera_matrix" in meta
    )


def test_what_somebody_did_not_get_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from realtime import session
    from realtime.stream.publisher import Publisher

    class Stalled(Publisher):
        """Somebody stopped reading."""

        def __init__(self, endpoint: str, *, allow_lan: bool) -> None:
            super().__init__(endpoint, allow_lan=allow_lan)
            self.stalls = 5

    arguments = [
        "--demo",
        "--every-frame",
        "--headless",
        "--endpoint",
        "tcp://127.0.0.1:*",
        "--max-frames",
        "1",
    ]
    assert run_demo.main(arguments) == 0 and "queue was full" not in capsys.readouterr().out
    monkeypatch.setattr(session, "Publisher", Stalled)
    assert (
        run_demo.main(arguments) == 0
        and "a subscriber's queue was full 5 times" in capsys.readouterr().out
    )


def _mistakes(folder: Path) -> dict[str, tuple[list[str], str]]:
    video = str(_video(folder / "fine.mp4"))
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(Path(video).read_bytes()[:200])
    cv2.imwrite(str(folder / "picture.png"), np.zeros((64, 64, 3), np.uint8))
    (folder / "nocalib.json").write_text("{}")
    return {
        "missing file": (["--video", str(folder / "nothing.mp4")], "nothing.mp4"),
        "empty file": (["--video", str(folder / "empty.mp4")], "empty.mp4"),
        "truncated file": (["--video", str(folder / "cut.mp4")], "cut.mp4"),
        "picture": (["--video", str(folder / "picture.png")], "picture"),
        "camera": (["--cam", "87"], "87"),
        "backend": (["--video", video, "--backend", "abacus"], "abacus"),
        "absent backend": (["--video", video, "--backend", "tensorrt"], "tensorrt"),
        "no hypotheses": (["--video", video, "--hypotheses", "0"], "--hypotheses"),
        "unwritable output": (["--video", video, "--out", "/proc/nowhere/out.npz"], "--out"),
        "unwritable recording": (
            ["--video", video, "--record", "/proc/nowhere/view.mp4"],
            "view.mp4",
        ),
        "focal": (["--video", video, "--focal", "-3"], "--focal"),
        "no frames": (["--video", video, "--max-frames", "0"], "--max-frames"),
        "two cameras": (
            ["--video", video, "--focal", "900", "--calib", str(folder / "nocalib.json")],
            "--calib",
        ),
        "camera of the demo": (["--demo", "--focal", "900"], "--focal"),
        "record for model": (["--demo", "--model", str(folder / "no.json")], "no.json"),
        "rate of a video": (["--video", video, "--fps", "6"], "fps:"),
        "rate of the demo": (["--demo", "--fps", "6"], "--fps"),
        "size of a video": (["--video", video, "--size", "640x480"], "--size"),
        "output over body": (
            ["--demo", "--body", str(folder / "b.npz"), "--out", str(folder / "b.npz")],
            "--out",
        ),
        "output over the model's record": (
            ["--demo", "--model", "some.onnx", "--out", "some.json"],
            "--out",
        ),
        "too many hypotheses": (
            ["--demo", "--endpoint", "tcp://127.0.0.1:*", "--hypotheses", "30000"],
            "--hypotheses",
        ),
        "output over input": (["--video", video, "--record", video], "--record"),
        "calibration": (
            ["--video", video, "--calib", str(folder / "nocalib.json")],
            "nocalib.json",
        ),
        "body": (["--video", video, "--body", video], "fine.mp4"),
        "model": (["--video", video, "--model", str(folder / "no.onnx")], "no.onnx"),
    }


@pytest.mark.parametrize("mistake", [
    "missing file", "empty file", "truncated file", "picture", "camera", "backend", "absent backend", "no hypotheses",
    "unwritable output", "unwritable recording", "focal", "no frames", "two cameras", "camera of the demo",
    "record for model", "rate of a video", "rate of the demo", "size of a video", "output over body",
    "output over the model's record",
    "too many hypotheses", "output over input", "calibration", "body", "model",
])  # fmt: skip
def test_a_mistake_ends_with_one_sentence(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, named = _mistakes(tmp_path)[mistake]
    quiet = ["--headless"] if "--endpoint" in arguments else QUIET
    status = run_demo.main([*arguments, "--every-frame", *quiet])
    said = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("run_demo.py: ")
    ]
    assert status == 2 and len(said) == 1 and named in said[0]


def test_a_missing_system_library_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(config: object, signals: object) -> int:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(run_demo, "run", broken)
    assert run_demo.main(["--demo"]) == 2 and "libGL.so.1" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUB) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        status = run_demo.main(
            ["--demo", "--headless", "--endpoint", f"tcp://127.0.0.1:{port}", "--max-frames", "1"]
        )
    assert status == 2 and str(port) in capsys.readouterr().err


def test_a_flow_refuses_a_body_it_was_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    from engines.body import BodyModel
    from engines.convert_smpl import convert

    official, converted = tmp_path / "official.npz", tmp_path / "converted.npz"
    np.savez(official, **synthetic_smpl())
    arrays, _ = convert(official)
    np.savez(converted, **arrays)
    assert BodyModel.load(converted).J_template.shape == (24, 3)
    status = run_demo.main(["--demo", "--body", str(converted), *QUIET])
    assert status == 2 and "trained on another body" in capsys.readouterr().err


def test_interrupting_keeps_what_was_written(tmp_path: Path) -> None:
    import signal

    out = tmp_path / "interrupted.npz"
    command = [
        sys.executable,
        "run_demo.py",
        "--demo",
        "--every-frame",
        *QUIET,
        "--hypotheses",
        "4",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    partial_grew = False
    while process.poll() is None and not partial_grew:
        partial_grew = any(p.stat().st_size > 50_000 for p in tmp_path.glob("*partial*"))
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in said
    with np.load(out) as data:
        assert 0 < len(data["frame"]) <= 300 and data["found"].any()


@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_who_has_seen_enough_is_no_error(lines: int) -> None:
    """As `| true` and `| head -1` do."""
    command = [
        sys.executable,
        "run_demo.py",
        "--demo",
        "--every-frame",
        *QUIET,
        "--max-frames",
        "2",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 0 and b"Error" not in said and b"Traceback" not in said
    process.stderr.close()


def test_a_size_is_read_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo.parse(["--cam", "0", "--size", "1280x720"]).size == (1280, 720)
    for wrong in ("1280", "1280x", "0x720", "-1x5", "ax5"):
        with pytest.raises(SystemExit):
            run_demo.parse(["--cam", "0", f"--size={wrong}"])
        assert "write it as 1280x720" in capsys.readouterr().err
