"""Ten frames of the built-in clip, written as a video of their own, as training samples without
truth.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.blazepose.tracker import PoseTracker
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from realtime.demo import clip_path
from tests.support.random_samples import (
    TINY_ENCODER,
    mhentropy,
    random_flow,
    random_records,
    unlabelled,
)
from trainer.data import samples as data
from trainer.data.augment import RawRecords
from trainer.data.rng import StepRng
from trainer.data.unlabelled import JOINT_OF, load_video, track_video
from trainer.video_landmarks import VideoConfig, main

SUPERVISING = {
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist", "knee", "ankle")
}


@pytest.fixture(scope="module")
def video_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `main` writes for a video of ten frames."""
    folder = tmp_path_factory.mktemp("video")
    clip = cv2.VideoCapture(str(clip_path()))
    size = int(clip.get(cv2.CAP_PROP_FRAME_WIDTH)), int(clip.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(str(folder / "short.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    for _ in range(10):
        writer.write(clip.read()[1])
    writer.release()
    main(VideoConfig((folder / "short.mp4",), folder / "out", every=2))
    return folder / "out"


@pytest.fixture(scope="module")
def stored(video_shards: Path, body: BodyModel) -> RawRecords:
    return data.read(video_shards, body)


def in_crop(stored: RawRecords) -> np.ndarray:
    """(N, 33, 2): landmarks in px of the crop, straight from the image."""
    A = stored["crop_from_image"].astype(np.float64)
    return np.einsum("nij,nkj->nki", A[:, :, :2], stored["points"]) + A[:, None, :, 2]


def test_every_second_frame_is_kept_as_the_renderer_does_without_ground_truth(
    stored: RawRecords, body: BodyModel
) -> None:
    assert len(stored["focal"]) == 5
    rendered = unlabelled(random_records(2, 0, body))
    assert stored.keys() == rendered.keys()
    for key, value in rendered.items():
        assert (stored[key].dtype, stored[key].shape[1:]) == (value.dtype, value.shape[1:]), key
    assert len(np.unique(stored["points"][:, 0, 0])) == 5
    np.testing.assert_array_equal(stored["window"][:, 2:], stored["size"])
    # The region that the network looked at lies around the person.
    crop = in_crop(stored)[:, 11:29]
    assert ((crop > 0) & (crop < 256)).mean() > 0.9


def test_targets_are_the_landmarks_in_the_image(
    video_shards: Path, stored: RawRecords, body: BodyModel
) -> None:
    samples = load_video(video_shards, body, min_visibility=0.5)
    assert all(field.isfinite().all() for field in samples)
    # From the target through the view into the crop, and there directly from the image.
    view = torch.cat(
        [samples.target * samples.half_size[:, None, None], torch.ones(5, 24, 1)], -1
    ).double()
    crop = (view @ samples.crop_from_view.double().mT).numpy()
    crop = crop[..., :2] / crop[..., 2:]
    for landmark, joint in JOINT_OF.items():
        np.testing.assert_allclose(crop[:, joint], in_crop(stored)[:, landmark], atol=0.01)
    # The landmarks that are the method's input lie in the same place.
    marks = samples.features[:, :66].unflatten(1, (33, 2))
    clear = (marks.abs() < 1.5).all(-1)[:, list(JOINT_OF)]  # the input is bounded
    torch.testing.assert_close(
        samples.target[:, list(JOINT_OF.values())][clear],
        marks[:, list(JOINT_OF)][clear],
        atol=1e-4,
        rtol=0,
    )


def test_confident_landmarks_in_the_image_supervise(tmp_path: Path, body: BodyModel) -> None:
    stored = unlabelled(random_records(3, 5, body))
    stored["visibility"][:] = 1.0
    stored["points"][:] = stored["points"].clip(1, 719)
    stored["visibility"][0, 13], stored["points"][1, 28, 1], stored["points"][2, 16, 0] = (
        0.79,
        720.5,
        -0.5,
    )
    np.savez(tmp_path / "a.npz", **stored)
    samples = load_video(tmp_path, body)
    supervising = [{JOINT_NAMES[joint] for joint in row.nonzero()[:, 0]} for row in samples.visible]
    assert supervising == [
        SUPERVISING - {"left_elbow"},
        SUPERVISING - {"right_ankle"},
        SUPERVISING - {"right_wrist"},
    ]
    more = load_video(tmp_path, body, min_visibility=0.7)
    assert {JOINT_NAMES[joint] for joint in more.visible[0].nonzero()[:, 0]} == SUPERVISING


def test_a_method_learns_from_video(video_shards: Path, body: BodyModel) -> None:
    samples = load_video(video_shards, body)
    assert 0 < samples.visible.sum() < 10 * samples.size + 1
    method = mhentropy(body, random_flow(0, encoder=TINY_ENCODER)).train()
    loss, losses = method(samples, StepRng(0, 0), "2d-vis")
    loss.backward()
    assert loss.isfinite() and "likelihood" not in losses
    for name, weight in method.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name
    gradient = method.flow.encoder.first.weight.grad
    assert gradient is not None and gradient.any()
    # What is not visible plays no part: neither its target nor the placeholders of ground truth.
    occluded = samples.visible[..., None] == 0
    moved = samples._replace(
        target=samples.target + 5 * occluded,
        joints=samples.joints + 1,
        rotvec=samples.rotvec + 1,
        betas=samples.betas + 1,
    )
    torch.testing.assert_close(
        method.eval()(moved, StepRng(0, 0), "2d-vis")[0],
        method(samples, StepRng(0, 0), "2d-vis")[0],
    )


class BlindTracker(PoseTracker):
    """Stands for the two networks where no frame is to be read."""

    def __init__(self) -> None:
        pass

    def reset(self) -> None:
        pass


def test_videos_that_cannot_be_used_are_named(tmp_path: Path, body: BodyModel) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for name in ("a.mp4", "missing.mp4"):
        with pytest.raises(PenumbraError, match=f"videos: cannot read .*{name}"):
            track_video(tmp_path / name, BlindTracker(), 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PenumbraError, match="--videos: several are called cam"):
        main(VideoConfig((Path("one/cam.mp4"), Path("two/cam.mp4")), tmp_path / "out"))
    with pytest.raises(PenumbraError):
        load_video(tmp_path / "out", body)
