"""Make training pairs: paint random scenes and show them to the real landmark network.

    python -m trainer.synthesize --poses runs/poses.npz --out runs/pairs --split train --shards 100

What the flow then learns from is how this network really fails: behind a table, at the picture's
border, seen from behind. A shard is one file of `SHARD` pairs. Its number decides what it draws, so
a run that was killed goes on where it stopped, and any number of processes gives the same data.
`made.json` beside the shards says what they were made of; others are not added.
"""

import hashlib
import json
import multiprocessing
import os
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from engines.backends.engine import open_engine
from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.landmarker import Landmarker
from engines.blazepose.models import landmarker_model
from engines.blazepose.roi import image_to_crop
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import Landmarks, Roi
from trainer.command import start
from trainer.data.samples import landmark_record
from trainer.motion.poses import SPLITS, Poses, Split
from trainer.render import rasterizer as render
from trainer.render.scenes import CROPS, Scene, SceneConfig, draw, window

SHARD = 500
OVERSAMPLE = 2


@dataclass(frozen=True)
class SynthesizeConfig:
    """What to make, and where."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path = Path("runs/pairs")
    split: Split = "train"
    shards: int = 10
    processes: int = 2
    seed: int = 0
    body: Path | None = None
    """Of `engines.convert_smpl`; the default body when None."""
    scene: SceneConfig = field(default_factory=SceneConfig)


@dataclass(frozen=True)
class SceneRenderer:
    """What a process needs to turn scenes into pairs; opened once."""

    body: BodyModel
    figure: render.Figure
    landmarker: Landmarker

    @classmethod
    def open(cls, body: BodyModel) -> "SceneRenderer":
        """Load the landmark network."""
        figure = render.figure(
            body.decimated.v_template, body.decimated.faces, body.decimated.weights
        )
        return cls(
            body, figure, Landmarker(open_engine(landmarker_model(), "openvino", num_threads=1))
        )

    def pair(self, scene: Scene, rng: np.random.Generator) -> dict[str, np.ndarray] | None:
        """Paint a scene, look at it; None where the network sees nobody, which the live system
        drops as well.
        """
        seen = self.pair_and_picture(scene, rng)
        return seen[0] if seen is not None else None

    def pair_and_picture(
        self, scene: Scene, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], UInt8[np.ndarray, "S S 3"]] | None:
        """The same with the crop that the network saw."""
        shaped = self.body.shaped(scene.betas)
        transl = scene.pelvis - shaped.rest_joints[0]
        posed = shaped.posed(scene.rotvec, transl)
        if posed.joints[:, 2].min() < 0.3:
            return None
        joints_px = _to_image(posed.joints, scene)
        roi = _region(joints_px, rng)
        there = window(scene, joints_px)
        painting = self._paint(scene, posed.vertices("decimated"), joints_px, roi, there, rng)
        found, _ = self.landmarker(painting.image, Roi(np.array([CROP / 2, CROP / 2]), CROP, 0.0))
        if (
            found.score < 0.5 or (there[2:] - there[:2]).min() < 1
        ):  # what a crop keeps may lie outside the picture
            return None
        crop_from_image = image_to_crop(roi, CROP)
        reach = round(0.016 * CROP * OVERSAMPLE)
        crop_px = OVERSAMPLE * cv2.transform(joints_px[None], crop_from_image)[0]
        visible = render.visible_joints(painting.part, crop_px, reach)
        return _record(scene, there, found, crop_from_image, visible), painting.image

    def _paint(
        self,
        scene: Scene,
        vertices: np.ndarray,
        joints_px: np.ndarray,
        roi: Roi,
        there: np.ndarray,
        rng: np.random.Generator,
    ) -> render.Rendering:
        size = CROP * OVERSAMPLE
        crop_from_image = image_to_crop(roi, size)
        pixels = cv2.transform(_to_image(vertices, scene)[None], crop_from_image)[0]
        behind = render.background(size, rng)
        painting = render.paint(self.figure, vertices, pixels, size, behind, rng)
        crop_px = cv2.transform(joints_px[None], crop_from_image)[0]
        if scene.things:
            render.occlude(painting, crop_px, 0.75 * size, rng)
        _hide_outside(painting.part, there, crop_from_image)
        small = cv2.resize(painting.image, (CROP, CROP), interpolation=cv2.INTER_AREA)
        small = _repeat_border(small, there, image_to_crop(roi, CROP))
        return render.Rendering(render.degrade(small, rng), painting.part)


def _to_image(points_cam: Float[np.ndarray, "N 3"], scene: Scene) -> Float[np.ndarray, "N 2"]:
    return points_cam[:, :2] / points_cam[:, 2:] * scene.focal + np.array(scene.size) / 2


def _region(joints_px: Float[np.ndarray, "24 2"], rng: np.random.Generator) -> Roi:
    """A crop as the tracker would choose it: the body's circle about the hips times 1.25, with a
    tracker's errors.
    """
    hips, shoulders = joints_px[[1, 2]].mean(0), joints_px[[16, 17]].mean(0)
    radius = np.linalg.norm(joints_px - hips, axis=1).max() * 1.08
    up = shoulders - hips
    rotation = np.arctan2(up[0], -up[1]) + rng.normal(0, 0.1)
    center = hips + rng.normal(0, 0.06, 2) * radius
    return Roi(center, float(2 * 1.25 * radius * np.exp(rng.normal(0, 0.12))), float(rotation))


def _hide_outside(
    part: np.ndarray, there: Float[np.ndarray, "4"], crop_from_image: Float[np.ndarray, "2 3"]
) -> None:
    """Nothing is visible beyond the picture's border."""
    left, top, right, bottom = there
    border = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    inside = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(
        inside, np.round(cv2.transform(border[None], crop_from_image)[0]).astype(np.int32), [1]
    )
    part[inside == 0] = render.NOBODY


def _repeat_border(
    image: np.ndarray, there: Float[np.ndarray, "4"], crop_from_image: Float[np.ndarray, "2 3"]
) -> np.ndarray:
    """Beyond the picture's border repeat its last pixels, as the landmark network's own cropping
    does.
    """
    left, top, right, bottom = there
    axis = np.arange(len(image), dtype=np.float32) + 0.5
    m = cv2.invertAffineTransform(crop_from_image).astype(np.float32)
    x = np.clip(axis[None] * m[0, 0] + axis[:, None] * m[0, 1] + m[0, 2], left + 0.5, right - 0.5)
    y = np.clip(axis[None] * m[1, 0] + axis[:, None] * m[1, 1] + m[1, 2], top + 0.5, bottom - 0.5)
    m = crop_from_image.astype(np.float32)
    u, v = x * m[0, 0] + y * m[0, 1] + (m[0, 2] - 0.5), x * m[1, 0] + y * m[1, 1] + (m[1, 2] - 0.5)
    return cv2.remap(image, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _record(
    scene: Scene,
    there: np.ndarray,
    found: Landmarks,
    crop_from_image: Float[np.ndarray, "2 3"],
    visible: np.ndarray,
) -> dict[str, np.ndarray]:
    """One pair: what the network said, in the picture's own px, and the truth."""
    image_from_crop = cv2.invertAffineTransform(crop_from_image)
    linear = image_from_crop[:, :2]
    scale = np.sqrt(np.linalg.det(linear))
    world = found.world.copy()
    world[:, :2] = world[:, :2] @ (linear / scale).T
    points = cv2.transform(found.points.astype(np.float64)[None], image_from_crop)[0]
    moved = replace(found, points=points, depth=found.depth * scale, world=world)
    return landmark_record(moved, scene.focal, scene.size, there, crop_from_image) | {
        "crop": np.array(list(CROPS).index(scene.crop), np.int8),
        "rotvec": scene.rotvec.astype(np.float32),
        "betas": scene.betas.astype(np.float32),
        "pelvis": scene.pelvis.astype(np.float32),
        "joint_visible": visible,
    }


def make_shard(config: SynthesizeConfig, index: int) -> None:
    """Make shard `index` unless it is there."""
    path = config.out / config.split / f"{index:05d}.npz"
    if path.exists():
        return
    poses, clip = Poses.load(config.poses).of(config.split)
    painter = _painter(config.body)
    rng = np.random.default_rng([config.seed, SPLITS.index(config.split), index])
    records: list[dict[str, np.ndarray]] = []
    while len(records) < SHARD:
        record = painter.pair(draw(poses, clip, config.scene, rng), rng)
        if record is not None:
            records.append(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        stacked = {key: np.stack([record[key] for record in records]) for key in records[0]}
        np.savez(file, body=np.array(painter.body.name), **stacked)
    partial.replace(path)


@cache
def _painter(body: Path | None) -> SceneRenderer:
    """This process's painter."""
    cv2.setNumThreads(1)
    return SceneRenderer.open(BodyModel.load(body))


def _check_folder(config: SynthesizeConfig) -> None:
    """Write down what the shards are made of, or compare with what was written."""
    Poses.load(config.poses)
    made = {
        "seed": config.seed,
        "body": BodyModel.load(config.body).name,
        "poses": hashlib.sha256(config.poses.read_bytes()).hexdigest(),
        "scene": json.loads(json.dumps(asdict(config.scene))),
    }
    folder = config.out / config.split
    record = folder / "made.json"
    if not any(folder.glob("*.npz")):
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(made, indent=2) + "\n")
        return
    before = json.loads(record.read_text()) if record.exists() else {}
    if differ := [name for name, value in made.items() if before.get(name) != value]:
        raise PenumbraError(
            f"--out: {folder} holds shards with another {', '.join(differ)}; name another folder."
        )


def _make(job: tuple[SynthesizeConfig, int]) -> None:
    make_shard(*job)


def synthesize(config: SynthesizeConfig) -> None:
    """Make all shards of a split.

    Raises:
        PenumbraError: if there are no poses, a number is too small, or the folder holds shards of
            something else.
    """
    for name in ("shards", "processes"):
        if getattr(config, name) < 1:
            raise PenumbraError(f"--{name} {getattr(config, name)}: at least 1 is needed.")
    _check_folder(config)
    jobs = [(config, index) for index in range(config.shards)]
    with multiprocessing.get_context("spawn").Pool(config.processes) as pool:
        for _ in tqdm(
            pool.imap_unordered(_make, jobs), total=len(jobs), unit="shard", desc=config.split
        ):
            pass


if __name__ == "__main__":
    start(synthesize, SynthesizeConfig)
