"""What a landmark network says about every picture of a video, with the live tracker, stored once.

    python -m trainer.heard --videos ../shared/data/video/asl/*.mkv --out runs/heard --network full

Flows are compared on real footage many times, and the landmark networks cost far more than the
flow. `heavy` is `pose_landmark_heavy.tflite` of the npm package `@mediapipe/pose`, given as
`--heavy FILE`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from engines.detector import open_detector
from engines.engine import open_engine
from engines.errors import PenumbraError
from engines.landmarker import Landmarker, open_landmarker
from engines.models import LANDMARKER, import_once
from engines.perception import Perception
from engines.types import Landmarks, Roi
from trainer.command import start
from trainer.film import pictures_of

NetworkName = Literal["full", "heavy"]
_FIELDS = ("points", "depth", "visibility", "presence", "world")


@dataclass(frozen=True)
class HeardConfig:
    """Which videos, which network, and where to."""

    videos: tuple[Path, ...]
    out: Path = Path("runs/heard")
    network: NetworkName = "full"
    heavy: Path | None = None
    """The TFLite file of the heavy network."""
    every: int = 1
    """Keep every so-manieth picture; all of them are looked at."""


def perception_with(network: NetworkName, heavy: Path | None) -> Perception:
    """The live tracker with one of the two landmark networks.

    Raises:
        PenumbraError: if the heavy network is asked for and not there.
    """
    if network == "full":
        return Perception(open_detector(), open_landmarker())
    if heavy is None or not heavy.is_file():
        raise PenumbraError(
            "--heavy: give pose_landmark_heavy.tflite; it is in the npm package @mediapipe/pose."
        )
    onnx = import_once(heavy, LANDMARKER.outputs)
    return Perception(open_detector(), Landmarker(open_engine(onnx, "openvino")))


def hear(video: Path, perception: Perception) -> list[Landmarks | None]:
    """Landmarks of every picture; None where nobody is found."""
    perception.reset()
    return [
        perception(picture)
        for picture in tqdm(pictures_of(video, "--videos"), desc=video.stem, unit="picture")
    ]


def store(found: list[Landmarks | None], path: Path) -> None:
    """Write T pictures; rows of those without a person are NaN, their score 0."""
    blank = {
        "points": (33, 2),
        "depth": (33,),
        "visibility": (33,),
        "presence": (33,),
        "world": (33, 3),
    }
    columns = {
        name: np.stack(
            [np.full(blank[name], np.nan) if one is None else getattr(one, name) for one in found]
        )
        for name in _FIELDS
    }
    columns["score"] = np.array([0.0 if one is None else one.score for one in found])
    nowhere = np.full(4, np.nan)
    columns["roi"] = np.stack(
        [
            nowhere if one is None else np.array([*one.roi.center, one.roi.size, one.roi.rotation])
            for one in found
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, **{name: column.astype(np.float32) for name, column in columns.items()}
    )


def load(path: Path) -> list[Landmarks | None]:
    """The inverse of `store`."""
    with np.load(path, allow_pickle=False) as stored:
        columns = {name: stored[name].astype(np.float64) for name in (*_FIELDS, "score", "roi")}

    def one(t: int) -> Landmarks | None:
        if columns["score"][t] == 0:
            return None
        roi = columns["roi"][t]
        fields = {name: columns[name][t] for name in _FIELDS}
        return Landmarks(
            **fields,
            score=float(columns["score"][t]),
            roi=Roi(roi[:2], float(roi[2]), float(roi[3])),
        )

    return [one(t) for t in range(len(columns["score"]))]


def main(config: HeardConfig) -> None:
    """Hear every video and store it as OUT/NETWORK/PARENT-NAME.npz, unless it is there."""
    perception = perception_with(config.network, config.heavy)
    for video in config.videos:
        path = config.out / config.network / f"{video.parent.name}-{video.stem}.npz"
        if not path.exists():
            store(hear(video, perception)[:: config.every], path)


if __name__ == "__main__":
    start(main, HeardConfig)
