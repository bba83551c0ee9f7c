"""Score the tracker of several people on real footage into which a second person is put.

    python -m trainer.crossing --folders ../shared/data/multiview/balancing \
        --walk ../shared/data/mocap/cmu/12/12_01.bvh

A recording with a reference (`trainer.datasets.recordings`) is played there and back, once as it is
and once for each of `passing`, with somebody who walks by (`multiview.walkers`): near enough to a
camera to cover the person of the recording, or covered. Every image goes through the whole tracker,
`engines.blazepose.people`, and the person of the recording is estimated as in `trainer.footage`;
errors are compared with those of the same frames without the walker.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from tqdm import tqdm

from engines.blazepose.people.track import TrackedPerson
from engines.blazepose.people.tracker import open_people_tracker
from engines.blazepose.tracker import open_tracker
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import LANDMARK_BONES, LIMB_LANDMARKS, LandmarkNetwork
from trainer.command import start
from trainer.data.video_reader import read_frames
from trainer.datasets.recordings import Recording, read_recordings
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.evaluation.track_scores import TrackScores, score
from trainer.evaluation.view_scores import ViewSample, score_view
from trainer.multiview.rig import RigCamera
from trainer.multiview.second_person import Silhouettes, Walker, at, composite
from trainer.multiview.walkers import Walkers

_LIMBS = list(LIMB_LANDMARKS.values())


@dataclass(frozen=True)
class CrossingConfig:
    """What to score on."""

    folders: tuple[Path, ...]
    walk: Path
    """Motion capture of somebody who walks, to be rendered, or a video of somebody who walks by, to
    be cut out."""
    walk_s: tuple[float, float] = (0.0, math.inf)
    """Part of that video, seconds."""
    walk_m: float = 4.0
    """Length of the way of who was filmed, metres."""
    passing: tuple[float, ...] = (0.9, -0.9)
    """Where the walker passes the person, metres towards the first camera (- away from it)."""
    floor: float = 0.0
    """Height of the floor in the recording's world, which is z up, metres."""
    clothes: int = 1
    """Seed of a rendered walker's clothes."""
    landmarks: LandmarkNetwork = "full"
    hypotheses: int = 100
    max_people: int = 4
    images: Path | None = None
    """Folder for every tenth image, with all that was tracked."""


@dataclass(frozen=True)
class View:
    """The frames of one camera, there and back."""

    camera: RigCamera
    images: Sequence[UInt8[np.ndarray, "h w 3"]]
    joints: tuple[int, ...]
    """SMPL joint numbers of the reference."""
    reference: Float[np.ndarray, "T J 3"]
    """Camera frame, metres."""

    def person(self, t: int) -> tuple[Float[np.ndarray, "24 2"], Bool[np.ndarray, "24"]]:
        """Return where the joints of the person are in a frame, px, and which are inside of it."""
        pixels = np.full((24, 2), np.nan)
        pixels[list(self.joints)] = self.camera.intrinsics.project(self.reference[t])
        size = self.camera.intrinsics.size
        return pixels, ((pixels >= 0) & (pixels < size)).all(-1)


@dataclass(frozen=True)
class Run:
    """What was tracked in one view."""

    tracked: list[tuple[TrackedPerson, ...]]
    scores: TrackScores
    errors: dict[int, float]
    """PA-MPJPE, mm, of the person of the recording, by frame in which they were found."""
    touched: set[int]
    """Frames in which a joint of that person is covered, or the walker's by them."""
    in_front: float
    """Share of the frames in which the walker is nearer to the camera."""


def views_of(recording: Recording) -> Iterator[View]:
    """Read the frames of each camera.

    Raises:
        PenumbraError: there is no reference, or a video cannot be read.
    """
    if not recording.reference:
        raise PenumbraError(
            f"folders: {recording.name} has no reference.npz; name a recording that has one."
        )
    for camera, reference in zip(recording.cameras, recording.reference, strict=True):
        images = list(read_frames(camera.video, "folders"))[: len(reference)]
        order = [*range(len(images)), *range(len(images) - 2, 0, -1)]
        yield View(
            camera,
            [images[i] for i in order],
            recording.reference_joints,
            reference[order],
        )


class Scorer:
    """Runs the tracker through views; holds the networks."""

    def __init__(self, config: CrossingConfig) -> None:
        """Open them."""
        self._config = config
        self._one = open_tracker(network=config.landmarks)
        self._silhouettes = Silhouettes()
        self._tracker = open_people_tracker("auto", config.landmarks, config.max_people)
        self._estimate = FrameEstimator(FlowModel.load(), BodyModel.load(), config.hypotheses)

    def silhouettes(self, view: View) -> list[Float[np.ndarray, "h w"] | None]:
        """Find the person's silhouette in each frame."""
        self._one.reset()
        found = [self._one(image) for image in view.images]
        return [
            None if one is None else self._silhouettes(image, one.roi)
            for image, one in zip(view.images, found, strict=True)
        ]

    def run(
        self,
        view: View,
        walker: Walker | None,
        silhouettes: Sequence[Float[np.ndarray, "h w"] | None],
        images: Path | None,
    ) -> Run:
        """Track the people of a view, with or without a walker."""
        self._tracker.reset()
        T = len(view.images)
        people = 1 if walker is None else 2
        joints, visible = np.full((T, people, 24, 2), np.nan), np.zeros((T, people, 24), bool)
        tracked: list[tuple[TrackedPerson, ...]] = []
        touched, nearer = set(), 0
        for t, image in enumerate(view.images):
            joints[t, 0], visible[t, 0] = view.person(t)
            if walker is not None:
                depth = float(np.nanmean(view.reference[t, :, 2]))
                layer = walker.seen_by(view.camera, image, t)
                both = composite(image, layer, depth, silhouettes[t])
                image = both.image
                joints[t, 1], visible[t, 1] = both.joints_px, both.visible
                if both.in_front:
                    nearer += 1
                    before = visible[t, 0].copy()
                    visible[t, 0] &= ~at(both.covered, joints[t, 0])
                    hit = bool((before & ~visible[t, 0])[_LIMBS].any())
                else:
                    hit = _overlap(joints[t])
                touched |= {t} if hit else set()
            tracked.append(self._tracker(image))
            if images is not None and t % 10 == 0:
                _save(images.with_name(f"{images.name}-{t:03d}.jpg"), image, tracked[-1])
        marks = [
            [(p.track_id, p.landmarks.points, p.landmarks.visibility) for p in found]
            for found in tracked
        ]
        scores = score(marks, joints, visible)
        errors = {
            t: self._error(view, t, tracked[t][skeleton])
            for t, skeleton in enumerate(scores.skeletons[0])
            if skeleton is not None
        }
        return Run(tracked, scores, errors, touched, nearer / T)

    def _error(self, view: View, t: int, person: TrackedPerson) -> float:
        intrinsics, target = view.camera.intrinsics, view.reference[t]
        known = np.isfinite(target).all(-1)
        joints = np.array(view.joints)[known]
        sample = ViewSample(person.landmarks, intrinsics, joints, target[known])
        return float(
            score_view(self._estimate(person.landmarks, intrinsics), sample).pa_error.mean()
        )


def report(alone: Run, crossed: Run) -> dict[str, object]:
    """Compare a run with a walker with the one without."""
    scores = crossed.scores
    rows: dict[str, object] = {
        "walker in front": round(crossed.in_front, 2),
        "person found, of frames in sight": round(scores.found[0], 3),
        "walker found, of frames in sight": round(scores.found[1], 3),
        "both found, of frames with both in sight": round(scores.both_found, 3),
        "switches of number": {"person": scores.switches[0], "walker": scores.switches[1]},
        "skeletons over two bodies": scores.stretched,
        "skeletons on nobody": scores.nobody,
        "second skeletons": scores.doubled,
    }
    common = sorted(alone.errors.keys() & crossed.errors.keys())
    for name, frames in (
        ("", common),
        (", overlapped", [t for t in common if t in crossed.touched]),
    ):
        if frames:
            before, after = (
                float(np.mean([run.errors[t] for t in frames])) for run in (alone, crossed)
            )
            rows[f"PA-MPJPE{name}"] = {
                "frames": len(frames),
                "alone": round(before, 1),
                "with the walker": round(after, 1),
                "ratio": round(after / before, 3),
            }
    return rows


def main(config: CrossingConfig) -> None:
    """Print a report of every recording, camera and walk.

    Raises:
        PenumbraError: a recording or the walk cannot be read.
    """
    recordings = read_recordings(config.folders)
    if config.images is not None:
        config.images.mkdir(parents=True, exist_ok=True)
    scorer = Scorer(config)
    walkers = Walkers(config.walk, config.walk_s, config.walk_m, config.clothes)
    for recording in recordings:
        for view in tqdm(views_of(recording), total=len(recording.cameras), desc=recording.name):
            name = view.camera.video.stem
            first = recording.cameras[0]
            person = np.nanmean(recording.reference[0].reshape(-1, 3), 0)
            silhouettes = scorer.silhouettes(view)
            alone = scorer.run(view, None, silhouettes, None)
            for passing in config.passing:
                walker = walkers.past(first, person, passing, config.floor, len(view.images))
                images = config.images and config.images / f"{recording.name}-{name}-{passing:g}"
                crossed = scorer.run(view, walker, silhouettes, images)
                where = {"recording": recording.name, "camera": name, "passing_m": passing}
                print(json.dumps(where | report(alone, crossed)), flush=True)


def _overlap(joints: Float[np.ndarray, "2 24 2"]) -> bool:
    """Tell whether the boxes about two people's limb joints overlap."""
    low, high = np.nanmin(joints[:, _LIMBS], 1), np.nanmax(joints[:, _LIMBS], 1)
    return bool((np.maximum(low[0], low[1]) < np.minimum(high[0], high[1])).all())


def _save(path: Path, image: UInt8[np.ndarray, "h w 3"], tracked: Sequence[TrackedPerson]) -> None:
    image = image.copy()
    for person in tracked:
        hue = np.array([[[37 * person.track_id % 180, 255, 255]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        points = np.round(person.landmarks.points).astype(int)
        shown = person.landmarks.visibility > 0.5
        for a, b in LANDMARK_BONES:
            thickness = 6 if shown[a] and shown[b] else 2
            cv2.line(image, points[a].tolist(), points[b].tolist(), colour, thickness, cv2.LINE_AA)
        place = (points[[11, 12]].mean(0) - (20, 60)).astype(int).tolist()
        cv2.putText(image, str(person.track_id), place, cv2.FONT_HERSHEY_SIMPLEX, 3, colour, 6)
    cv2.imwrite(str(path), cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    start(main, CrossingConfig)
