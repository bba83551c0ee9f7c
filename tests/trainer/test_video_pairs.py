"""Ten frames of the built-in clip, written as a video of their own, as training pairs without
truth.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from realtime.demo import clip_path
from tests.support.random_pairs import TINY_ENCODER, mhentropy, random_flow, records, unlabelled
from trainer.data import samples as data
from trainer.data.augment import RawRecords
from trainer.data.rng import StepRng
from trainer.video_pairs import JOINT_OF, VideoConfig, load_video, main, watch

SUPERVISING = {
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist", "knee", "ankle")
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def raw(watched: Path, body: BodyModel) -> RawRecords:
    return data.read(watched, body)


def in_crop(raw: RawRecords) -> np.ndarray:
    """(N, 33, 2): landmarks in px of the crop, straight from the picture."""
    A = raw["crop_from_image"].astype(np.float64)
    return np.einsum("nij,nkj->nki", A[:, :, :2], raw["points"]) + A[:, None, :, 2]


def test_every_second_frame_is_kept_as_the_painter_would_without_truth(
    raw: RawRecords, body: BodyModel
) -> None:
    assert len(raw["focal"]) == 5
    painted = unlabelled(records(2, 0, body))
    assert raw.keys() == painted.keys()
    for key, value in painted.items():
        assert (raw[key].dtype, raw[key].shape[1:]) == (value.dtype, value.shape[1:]), key
    assert raw["map"].any() and len(np.unique(raw["points"][:, 0, 0])) == 5
    np.testing.assert_array_equal(raw["window"][:, 2:], raw["size"])
    # The region that the network looked at lies around the person.
    crop = in_crop(raw)[:, 11:29]
    assert ((crop > 0) & (crop < 256)).mean() > 0.9


def test_targets_are_the_landmarks_in_the_picture(
    watched: Path, raw: RawRecords, body: BodyModel
) -> None:
    pairs = load_video(watched, body, with_map=True, min_visibility=0.5)
    assert all(field.isfinite().all() for field in pairs) and pairs.map.shape == (5, 4, 4, 288)
    # From the target through the view into the crop, and there directly from the picture.
    view = torch.cat([pairs.target * pairs.half[:, None, None], torch.ones(5, 24, 1)], -1).double()
    crop = (view @ pairs.crop_from_view.double().mT).numpy()
    crop = crop[..., :2] / crop[..., 2:]
    for landmark, joint in JOINT_OF.items():
        np.testing.assert_allclose(crop[:, joint], in_crop(raw)[:, landmark], atol=0.01)
    # The landmarks that are the method's input lie in the same place.
    marks = pairs.features[:, :66].unflatten(1, (33, 2))
    clear = (marks.abs() < 1.5).all(-1)[:, list(JOINT_OF)]  # the input is bounded
    torch.testing.assert_close(
        pairs.target[:, list(JOINT_OF.values())][clear],
        marks[:, list(JOINT_OF)][clear],
        atol=1e-4,
        rtol=0,
    )


def test_landmarks_that_are_sure_and_in_the_picture_supervise(
    tmp_path: Path, body: BodyModel
) -> None:
    raw = unlabelled(records(3, 5, body))
    raw["visibility"][:] = 1.0
    raw["points"][:] = raw["points"].clip(1, 719)
    raw["visibility"][0, 13], raw["points"][1, 28, 1], raw["points"][2, 16, 0] = 0.79, 720.5, -0.5
    np.savez(tmp_path / "a.npz", **raw)
    pairs = load_video(tmp_path, body)
    shown = [{JOINT_NAMES[joint] for joint in row.nonzero()[:, 0]} for row in pairs.visible]
    assert shown == [
        SUPERVISING - {"left_elbow"},
        SUPERVISING - {"right_ankle"},
        SUPERVISING - {"right_wrist"},
    ]
    assert pairs.map.shape == (3, 0)
    bolder = load_video(tmp_path, body, min_visibility=0.7)
    assert {JOINT_NAMES[joint] for joint in bolder.visible[0].nonzero()[:, 0]} == SUPERVISING


def test_a_method_learns_from_them(watched: Path, body: BodyModel) -> None:
    pairs = load_video(watched, body)
    assert 0 < pairs.visible.sum() < 10 * pairs.size + 1
    method = mhentropy(body, random_flow(0, encoder=TINY_ENCODER)).train()
    loss, terms = method(pairs, StepRng(0, 0), "2d-vis")
    loss.backward()
    assert loss.isfinite() and "likelihood" not in terms
    for name, weight in method.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name
    gradient = method.flow.encoder.first.weight.grad
    assert gradient is not None and gradient.any()
    # What is not visible plays no part: neither its target nor the truth, which nobody knows.
    hidden = pairs.visible[..., None] == 0
    moved = pairs._replace(
        target=pairs.target + 5 * hidden,
        joints=pairs.joints + 1,
        y=pairs.y + 1,
        betas=pairs.betas + 1,
    )
    torch.testing.assert_close(
        method.eval()(moved, StepRng(0, 0), "2d-vis")[0], method(pairs, StepRng(0, 0), "2d-vis")[0]
    )


class Blind:
    """In place of the two networks where no frame is to be read."""

    def reset(self) -> None:
        pass


def test_videos_that_cannot_be_used_are_named(tmp_path: Path, body: BodyModel) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for name in ("a.mp4", "missing.mp4"):
        with pytest.raises(PenumbraError, match=f"--videos: cannot read .*{name}"):
            watch(tmp_path / name, Blind(), 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PenumbraError, match="--videos: several are called cam"):
        main(VideoConfig((Path("one/cam.mp4"), Path("two/cam.mp4")), tmp_path / "out"))
    with pytest.raises(PenumbraError):
        load_video(tmp_path / "out", body)
