"""Scoring a flow on recordings: samples from landmarks and references, and the report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.blazepose.tracker import open_tracker
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS, Landmarks
from tests.support.paths import SHARED
from tests.support.rigs import perfect_estimates, ring
from trainer.datasets.recordings import Recording
from trainer.datasets.tracked import track_landmarks
from trainer.datasets.view_samples import view_samples
from trainer.footage import FootageConfig, main
from trainer.multiview.rig import RigCamera
from trainer.multiview.triangulation import TriangulationConfig

BALANCING = SHARED / "data" / "multiview" / "balancing"


def named_ring() -> tuple[RigCamera, ...]:
    return tuple(replace(camera, video=Path(f"cam_{i}.mp4")) for i, camera in enumerate(ring()))


def landmarks_of(cameras: tuple[RigCamera, ...], body: np.ndarray) -> list[list[Landmarks | None]]:
    return [[one.landmarks] for one in perfect_estimates(list(cameras), body)]


def test_samples_are_triangulated_where_there_is_no_reference() -> None:
    cameras = named_ring()
    body = np.random.default_rng(1).normal((0, 0, 3), 0.3, (24, 3))
    recording = Recording("ring", cameras, ((0, 0, 0, 0), (1, 1, 1, 1)))
    landmarks = landmarks_of(cameras, body)
    samples = view_samples(recording, landmarks, TriangulationConfig())
    assert list(samples) == ["cam_0", "cam_1", "cam_2", "cam_3"]
    for camera, (sample,) in zip(cameras, samples.values(), strict=True):
        assert set(sample.joints.tolist()) == set(LIMB_JOINTS)
        np.testing.assert_allclose(sample.target, camera.to_camera(body)[sample.joints], atol=1e-3)
    landmarks[2][0] = None  # a camera that sees no person
    assert not any(view_samples(recording, landmarks, TriangulationConfig()).values())


def test_samples_take_the_reference_where_there_is_one() -> None:
    cameras = named_ring()[:2]
    body = np.random.default_rng(1).normal((0, 0, 3), 0.3, (24, 3))
    joints = (4, 5, 7, 8)
    reference = tuple(camera.to_camera(body)[None, joints] for camera in cameras)
    reference[1][0, 2] = np.nan
    recording = Recording("two", cameras, ((0, 0),), joints, reference)
    samples = view_samples(recording, landmarks_of(cameras, body), TriangulationConfig())
    assert samples["cam_0"][0].joints.tolist() == [4, 5, 7, 8]
    assert samples["cam_1"][0].joints.tolist() == [4, 5, 8]
    landmarks = landmarks_of(cameras, body)
    landmarks[0][0] = None  # the other camera's image counts all the same
    samples = view_samples(recording, landmarks, TriangulationConfig())
    assert [len(one) for one in samples.values()] == [0, 1]


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    camera = replace(ring()[0], video=tmp_path / "cam_0.mp4")
    with pytest.raises(PenumbraError, match=r"folders: cannot read .*cam_0\.mp4"):
        track_landmarks(camera, open_tracker())


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("fit", {"fit": False, "objective": "smplify"}),
        ("fit", {"fit": False, "prior": "gmm"}),
        ("prior", {"objective": "humor", "prior": "gmm"}),
        ("starts", {"objective": "anchored", "starts": "flow"}),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    argument: str, options: dict[str, object]
) -> None:
    config = replace(FootageConfig(folders=(Path("nowhere"),)), **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PenumbraError, match=f"^{argument}: "):
        main(config)


@pytest.mark.slow
def test_the_balancing_man_is_scored_by_camera_and_joint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not BALANCING.is_dir():
        pytest.skip("the shared multi-view footage is not here")
    main(FootageConfig((BALANCING,), hypotheses=20))
    report = json.loads(capsys.readouterr().out)["balancing"]
    assert set(report["cameras"]) == {"cam02", "cam04"}
    everything = report["all cameras"]
    assert everything["images"] > 190 and everything["joints per image"] == 12
    assert 0 < everything["PA-MPJPE, best hypothesis"] < everything["PA-MPJPE, best estimate"] < 120
    assert {"left_knee", "right_ankle"} < set(report["joints"]) and len(report["joints"]) == 12
