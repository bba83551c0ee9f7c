"""Files of rendered samples: one shard is one `.npz` of `SHARD` samples.

A shard's number decides what it draws, so a run that was killed goes on where it stopped, and any
number of processes gives the same data. `made.json` beside the shards says what they were made of;
shards of something else are not added.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import cv2
import numpy as np
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import check_at_least
from engines.types import LandmarkNetwork
from trainer.data.made import check_made
from trainer.data.rendered import SampleRenderer
from trainer.motion.poses import SPLITS, Poses, Split
from trainer.render.scenes import Scene, SceneConfig

SHARD = 500
"""Samples in a file."""


@runtime_checkable
class SceneDistribution(Protocol):
    """What scenes are drawn from: a frozen dataclass, which `made.json` records."""

    def open(
        self, poses: Path, split: Split, body: BodyModel
    ) -> Callable[[np.random.Generator], Scene]:
        """Return what draws a scene from a generator."""
        ...


@dataclass(frozen=True)
class ShardConfig:
    """What to make, and where."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path = Path("runs/dataset")
    split: Split = "train"
    shards: int = 10
    processes: int = 2
    seed: int = 0
    body: Path | None = None
    """Body file of `engines.convert_smpl`; the default body when None."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    tracked: bool = True
    """Whether the live detector and tracker find the person in all that the camera sees; else the
    network is given a crop around the true body.
    """
    network: LandmarkNetwork = "full"
    """The landmark network that is asked."""


def write_shards(config: ShardConfig, scenes: SceneDistribution | None = None) -> None:
    """Make all shards of a split.

    Args:
        config: what to make.
        scenes: what scenes are drawn from; `config.scene` when None.

    Raises:
        PenumbraError: there are no poses, a number is too small, or the folder holds shards of
            something else.
    """
    check_at_least(1, config, "shards", "processes")
    scenes = scenes or config.scene
    _check_folder(config, scenes)
    jobs = [(config, scenes, index) for index in range(config.shards)]
    with multiprocessing.get_context("spawn").Pool(config.processes) as pool:
        done = pool.imap_unordered(_write_job, jobs)
        for _ in tqdm(done, total=len(jobs), unit="shard", desc=config.split):
            pass
    if config.tracked:
        found, lost = found_and_lost(config.out / config.split)
        print(f"{config.split}: {found} people found, {lost} lost by the tracker")


def found_and_lost(folder: Path) -> tuple[int, int]:
    """Count the people whom the tracker found and lost in a folder of tracked shards."""
    found = lost = 0
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            found, lost = found + len(stored["score"]), lost + int(stored["lost"])
    return found, lost


def write_shard(config: ShardConfig, scenes: SceneDistribution, index: int) -> None:
    """Make shard `index` unless it is there."""
    path = config.out / config.split / f"{index:05d}.npz"
    if path.exists():
        return
    renderer = _renderer(config.body, config.network)
    draw = scenes.open(config.poses, config.split, renderer.body)
    rng = np.random.default_rng([config.seed, SPLITS.index(config.split), index])
    records: list[dict[str, np.ndarray]] = []
    lost = 0
    while len(records) < SHARD:
        scene = draw(rng)
        if config.tracked:
            tracked = renderer.tracked_sample(scene, rng)
            record = None if tracked is None else tracked.record
            lost += tracked is not None and record is None
        else:
            record = renderer.sample(scene, rng)
        if record is not None:
            records.append(record)
    stacked = {key: np.stack([record[key] for record in records]) for key in records[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        about = {"body": np.array(renderer.body.name), "lost": np.array(lost)}
        np.savez(file, **about, **stacked)
    partial.replace(path)


def _write_job(job: tuple[ShardConfig, SceneDistribution, int]) -> None:
    write_shard(*job)


@cache
def _renderer(body: Path | None, network: LandmarkNetwork) -> SampleRenderer:
    """Open this process's renderer."""
    cv2.setNumThreads(1)
    return SampleRenderer.open(BodyModel.load(body), network)


def _check_folder(config: ShardConfig, scenes: SceneDistribution) -> None:
    """Write down what the shards are made of, or compare with what was written."""
    Poses.load(config.poses)
    made = {
        "seed": config.seed,
        "body": BodyModel.load(config.body).name,
        "poses": hashlib.sha256(config.poses.read_bytes()).hexdigest(),
        "scene": asdict(cast("Any", scenes)),
        "tracked": config.tracked,
        "network": config.network,
    }
    check_made(config.out / config.split, made, "out")
