"""Every mistake at the command line ends with one sentence and status 2, and destroys nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq

import run_demo
from engines.body import BodyModel
from engines.convert_smpl import convert
from tests.support.run_demo import QUIET, demo, grey_video, words
from tests.support.synthetic_smpl import synthetic_smpl

MISTAKES = {
    "missing file": ("--video {folder}/nothing.mp4", "nothing.mp4"),
    "empty file": ("--video {folder}/empty.mp4", "empty.mp4"),
    "truncated file": ("--video {folder}/cut.mp4", "cut.mp4"),
    "broken image": ("{folder}/broken.jpg", "broken.jpg"),
    "file as a camera": ("--cam {video}", "--video"),
    "address as a camera": ("--cam http://127.0.0.1/video", "--video"),
    "camera as a file": ("0", "--cam"),
    "two files": ("{video} --video {video}", "--video"),
    "two words": ("{video} walk.mp4", "walk.mp4"),
    "option of another name": ("{video} --recrod {folder}/view.mp4", "did you mean --record?"),
    "option that resembles none": ("{video} --xyzzy", "--help"),
    "start behind the end of the file": ("{video} --start 0:07", "--start"),
    "end before the start": ("{video} --start 1 --end 0.5", "--end"),
    "start of a photo": ("{folder}/image.png --start 1", "--start"),
    "start of a camera": ("--cam 87 --start 1", "--start"),
    "all of it, in real time": ("{video} --realtime", "--realtime"),
    "photos without a folder": ("{video} --photos", "--photos"),
    "camera": ("--cam 87", "87"),
    "two sources": ("--cam 87 --video {video}", "--video"),
    "demo and a source": ("--demo --video {video}", "--demo"),
    "backend": ("--video {video} --backend abacus", "abacus"),
    "absent backend": ("--video {video} --backend tensorrt", "tensorrt"),
    "prior": ("--video {video} --prior abacus", "--prior: 'abacus' is unknown; choose none"),
    "prior without a fit": ("--video {video} --no-fit --prior gmm", "--prior"),
    "no hypotheses": ("--video {video} --hypotheses 0", "--hypotheses"),
    "too many hypotheses": (
        "--demo --endpoint tcp://127.0.0.1:* --hypotheses 30000",
        "--hypotheses",
    ),
    "no people": ("--video {video} --max-people 0", "--max-people"),
    "too many people": ("--video {video} --max-people 9", "--max-people"),
    "nobody to follow": ("--video {video} --person tallest", "--person"),
    "too many hypotheses of several": (
        "--demo --endpoint tcp://127.0.0.1:* --hypotheses 8000",
        "--hypotheses",
    ),
    "no frames": ("--video {video} --max-frames 0", "--max-frames"),
    "focal": ("--video {video} --focal -3", "--focal"),
    "direction": ("--video {video} --up 0,0,0", "--up"),
    "height": ("--video {video} --height 1.8", "--height"),
    "two cameras": ("--video {video} --focal 900 --calib {folder}/nocalib.json", "--calib"),
    "camera of the demo": ("--demo --focal 900", "--focal"),
    "calibration": ("--video {video} --calib {folder}/nocalib.json", "nocalib.json"),
    "rate of a video": ("--video {video} --fps 6", "--fps"),
    "rate of the demo": ("--demo --fps 6", "--fps"),
    "size of a video": ("--video {video} --size 640x480", "--size"),
    "port of the page": ("--demo --viewer web --web-port 99999", "--web-port"),
    "missing landmark network": ("--demo --landmarks-file {folder}/no.tflite", "--landmarks-file"),
    "another landmark network": ("--video {video} --landmarks-file {video}", "another file than"),
    "no network's name": ("--demo --landmarks-file {folder}", "--landmarks-file"),
    "output over landmark network": ("--demo --landmarks-file b.npz --out b.npz", "--out"),
    "body": ("--video {video} --body {video}", "fine.mp4"),
    "model": ("--video {video} --model {folder}/no.onnx", "no.onnx"),
    "record for model": ("--demo --model {folder}/no.json", "no.json"),
    "unwritable output": ("--video {video} --out /proc/nowhere/out.npz", "--out"),
    "unwritable recording": ("--video {video} --record /proc/nowhere/view.mp4", "view.mp4"),
    "output over input": ("--video {video} --record {video}", "--record"),
    "output over input by address": ("--video file://{video} --record {video} --force", "--record"),
    "output into source": ("--video {folder} --fps 9 --out {folder}/image.png", "--out"),
    "output over body": ("--demo --body {folder}/b.npz --out {folder}/b.npz", "--out"),
    "output over the model's record": ("--demo --model some.onnx --out some.json", "--out"),
    "output over the demo": ("--demo --record realtime/assets/demo.mp4 --force", "--record"),
    "output over the default body": ("--demo --out engines/assets/body.npz --force", "--out"),
    "output of another kind": ("--demo --out {folder}/walk.bvh", ".npz"),
    "output that exists": ("--demo --out {folder}/b.npz", "--force"),
}
"""Command line, and what the sentence names."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_one_sentence(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = grey_video(tmp_path / "fine.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:200])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (tmp_path / "nocalib.json").write_text("{}")
    (tmp_path / "b.npz").write_bytes(b"of an earlier run")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((64, 64, 3), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    line, named = MISTAKES[mistake]
    arguments = line.format(folder=tmp_path, video=video).split()
    quiet = ["--headless"] if "--endpoint" in arguments else QUIET
    status = run_demo.main([*arguments, "--every-frame", *quiet])

    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("run_demo.py: ")]
    assert status == 2 and len(said) == 1 and named in said[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize(
    "refused",
    [("--backend", "tensorrt"), ("--record", "view.avi"), ("--endpoint", "tcp://nowhere:x")],
)
def test_a_start_that_fails_leaves_an_earlier_result(
    refused: tuple[str, ...], force: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "walk.npz"
    out.write_bytes(b"of an earlier run")
    run = ("--demo", "--headless", "--every-frame", "--out", out, *force)
    assert run_demo.main(words(*run, *refused)) == 2
    assert out.read_bytes() == b"of an earlier run"
    assert [path.name for path in tmp_path.iterdir()] == ["walk.npz"]


def test_an_output_that_cannot_be_opened_leaves_the_other_one(tmp_path: Path) -> None:
    good = tmp_path / "good.mp4"
    good.write_bytes(b"of an earlier run")
    assert demo("--record", good, "--out", "/proc/nowhere/out.npz", "--force") == 2
    assert good.read_bytes() == b"of an earlier run"
    assert demo("--out", tmp_path / "out.npz", "--record", "/proc/nowhere/view.mp4") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["good.mp4"]


def test_a_missing_system_library_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(config: object, signals: object) -> int:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(run_demo, "run", broken)
    assert run_demo.main(["--demo"]) == 2 and "libGL.so.1" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        run = ("--demo", "--headless", "--endpoint", f"tcp://127.0.0.1:{port}")
        status = run_demo.main(words(*run, frames=1))
    assert status == 2 and str(port) in capsys.readouterr().err


def test_a_flow_refuses_a_body_it_was_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official, converted = tmp_path / "official.npz", tmp_path / "converted.npz"
    np.savez(official, **synthetic_smpl())
    arrays, _ = convert(official)
    np.savez(converted, **arrays)
    assert BodyModel.load(converted).J_template.shape == (24, 3)
    status = run_demo.main(words("--demo", "--body", converted, *QUIET))
    assert status == 2 and "trained on another body" in capsys.readouterr().err
