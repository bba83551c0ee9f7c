"""People with random numbers in every field that is archived, and what archives hold."""

from pathlib import Path

import numpy as np

from engines.types import (
    Body,
    Estimate,
    FrameInfo,
    Hypotheses,
    Landmarks,
    Person,
    Roi,
    World,
)


def make_person(seed: int, k: int) -> Person:
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    roi = Roi(random(2), 100.0, 0.1)
    landmarks = Landmarks(
        random(33, 2), random(33), random(33), random(33), random(33, 3), 0.9, roi
    )
    hypotheses = Hypotheses(
        random(k, 24, 3), random(k, 10), random(k, 3), random(k, 24, 3), random(k), random(k)
    )
    best = Body(random(3), random(69), random(10), random(3), random(24, 3))
    return Person(
        landmarks=landmarks,
        hypotheses=hypotheses,
        best=best,
        joint_cov=random(24, 3, 3),
        ray_std=0.25 + seed,
        axis_std=0.5 * seed,
        ray=random(3),
        joint_visible=random(24),
        track_id=seed + 1,
    )


def make_estimate(index: int, k: int, found: bool = True) -> Estimate:
    people = (make_person(index, k),) if found else ()
    T = np.random.default_rng(index).normal(size=(4, 4)).astype(np.float32)
    world = World(T, T[:2, :2], np.inf if index == 1 else 0.5 * index, "given") if index else None
    return Estimate(FrameInfo(3 * index, 10 * index, index / 30.0), people, world)


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
