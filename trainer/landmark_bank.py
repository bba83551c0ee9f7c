"""Collect what the landmark network says of people, real ones partly occluded and rendered ones.

    python -m trainer.landmark_bank --videos a.mp4 b.mp4 --rendered runs/everyday/train \
        --out runs/landmark_bank.npz

Over real people something is painted (`trainer.synthetic.covered_video`), and the heavy network
says where they really are; of rendered people (`trainer.synthesize`) that is known. The result is
what `python -m trainer.train_live --landmark-bank` answers synthetic people from.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from calib.metrics import spearman
from engines.blazepose.landmarker import open_landmarker
from engines.blazepose.tracker import open_tracker
from engines.body import BodyModel
from engines.errors import PenumbraError, check_at_least
from engines.outputs import open_output
from engines.types import LIMB_LANDMARKS, LandmarkNetwork
from trainer.command import start
from trainer.data.augment import RawRecords
from trainer.data.samples import read
from trainer.synthetic.covered_video import covered_answers
from trainer.synthetic.known_landmarks import landmark_positions, landmark_states
from trainer.synthetic.landmark_bank import normalised
from trainer.synthetic.occlusion import VISIBLE

_BOUND = 1e-6
"""Distance of a probability from 0 and 1 at least, so that its logit is finite."""


@dataclass(frozen=True)
class LandmarkBankConfig:
    """What to collect."""

    videos: tuple[Path, ...] = ()
    """Video files in which one person is mostly visible."""
    rendered: tuple[Path, ...] = ()
    """Folders of `trainer.synthesize`'s training shards."""
    out: Path = Path("runs/landmark_bank.npz")
    networks: tuple[LandmarkNetwork, ...] = ("full", "heavy")
    """Networks that are asked about the videos."""
    frames: int = 90
    """Frames of each video that are used."""
    coverings: int = 8
    """How often something is put before each, for each network."""
    real_share: float = 0.6
    """How much all real entries weigh together."""
    body: Path | None = None
    """Of the rendered people; the default body when None."""
    seed: int = 0


def main(config: LandmarkBankConfig) -> None:
    """Collect and write.

    Raises:
        PenumbraError: a video or a shard cannot be read, a number is too small, there is nothing to
            collect, or the result cannot be written.
    """
    if not (config.videos or config.rendered):
        raise PenumbraError("videos: there is nothing to collect; name videos or `rendered`.")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with open_output(config.out, "out", ".npz", force=True) as output:
        parts = [part for part in (_real(config), _rendered(config)) if part is not None]
        np.savez(output.file, **_bank(config, parts))
        output.commit()
    counts = " and ".join(str(len(part["true"])) for part in parts)
    print(f"{config.out}: {counts} answers")
    for part in parts:
        print(_describe(part))


def _bank(config: LandmarkBankConfig, parts: list[RawRecords]) -> RawRecords:
    """Join the answers to real and to rendered people, or what there is of them, and weigh them."""
    shares = [config.real_share, 1 - config.real_share] if len(parts) == 2 else [1.0]
    weights = [
        np.full(len(part["true"]), share / len(part["true"]))
        for part, share in zip(parts, shares, strict=True)
    ]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    for name in ("visibility", "presence", "peak"):
        p = arrays[name].astype(np.float64).clip(_BOUND, 1 - _BOUND)
        arrays[name] = np.log(p / (1 - p))
    arrays["weight"] = np.concatenate(weights)
    return {
        key: value.astype(np.int8 if key == "state" else np.float32)
        for key, value in arrays.items()
    }


def _real(config: LandmarkBankConfig) -> RawRecords | None:
    """Ask the networks about covered people."""
    if not config.videos:
        return None
    check_at_least(1, config, "frames", "coverings")
    rng = np.random.default_rng(config.seed)
    heavy = open_landmarker(network="heavy")
    entries: list[dict[str, np.ndarray]] = []
    for name in config.networks:
        network, tracker = open_landmarker(network=name), open_tracker(network=name)
        for video in tqdm(config.videos, unit="video", desc=name):
            every = max(1, _frames(video) // config.frames)
            entries += covered_answers(video, every, config.coverings, tracker, network, heavy, rng)
    if not entries:
        raise PenumbraError("videos: nobody was found in them; name videos that show a person.")
    return {key: np.stack([entry[key] for entry in entries]) for key in entries[0]}


def _frames(video: Path) -> int:
    """Number of frames as the file states it, or 0."""
    capture = cv2.VideoCapture(str(video))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def _rendered(config: LandmarkBankConfig) -> RawRecords | None:
    """Take the answers of rendered samples."""
    if not config.rendered:
        return None
    body = BodyModel.load(config.body)
    parts = [_of_shards(read(folder, body), body) for folder in config.rendered]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _of_shards(records: RawRecords, body: BodyModel) -> RawRecords:
    focal = records["focal"].astype(np.float64)[:, None, None]
    middle = records["size"][:, None].astype(np.float64) / 2
    known = (records["rotvec"], records["betas"], records["pelvis"], body)
    marks = landmark_positions(*known)
    true = marks[..., :2] / marks[..., 2:] * focal + middle
    return {
        "true": normalised(true, true),
        "found": normalised(records["points"].astype(np.float64), true),
        "state": landmark_states(records, true),
        "visibility": records["visibility"],
        "presence": records["presence"],
        "peak": records["peak"],
    }


def _describe(part: RawRecords) -> str:
    """Say how well the network knows the errors of visible limb landmarks, by rank correlation."""
    limbs = list(LIMB_LANDMARKS)
    error = np.linalg.norm(part["found"] - part["true"], axis=-1)[:, limbs]
    visible = (part["state"][:, limbs] == VISIBLE) & np.isfinite(part["peak"][:, limbs])
    peak, visibility = (
        spearman(error[visible], part[name][:, limbs][visible]) for name in ("peak", "visibility")
    )
    return (
        f"{len(error)} answers: rank correlation of a visible limb landmark's error with its peak "
        f"{peak:.2f}, with its visibility {visibility:.2f}"
    )


if __name__ == "__main__":
    start(main, LandmarkBankConfig)
