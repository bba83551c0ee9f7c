"""The built-in demo: a rendered clip with its ground truth, and the score of a run against it.

The clip is made by `trainer.build_demo`: a person of the default body walks as a subject of the
test split walked, behind a counter. The score is that of whoever is nearest to that person in the
image; other people, who are not there, are counted. Distances here are in the camera frame after
the pelvises have been aligned.
"""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from engines.camera import Intrinsics
from engines.covariance import ellipsoid_contains, std_from_cov
from engines.types import LIMB_JOINTS, Estimate, Person
from realtime.capture.recordings import VideoFile

NAME = "built-in demo"


def clip_path() -> Path:
    """Path of the shipped video."""
    with as_file(files("realtime") / "assets" / "demo.mp4") as path:
        return Path(path)


def open_demo() -> VideoFile:
    """Open the clip as a source."""
    video = VideoFile.open_local(clip_path())
    video.name = NAME  # not where it was installed
    return video


@dataclass(frozen=True)
class GroundTruth:
    """The person in the clip, N frames."""

    joints: Float[np.ndarray, "N 24 3"]
    """Camera frame, metres."""
    visible: Bool[np.ndarray, "N 24"]
    focal: float
    """Focal length of the clip, px."""

    @staticmethod
    def load() -> "GroundTruth":
        """Read it from beside the clip."""
        with np.load(clip_path().with_suffix(".npz"), allow_pickle=False) as data:
            return GroundTruth(data["joints"].astype(float), data["visible"], float(data["focal"]))

    def intrinsics(self, size: tuple[int, int]) -> Intrinsics:
        """The camera that the clip was rendered with."""
        return Intrinsics(self.focal, self.focal, size[0] / 2, size[1] / 2, size, source="demo")


@dataclass(frozen=True)
class FrameScore:
    """Errors of one frame over L limb joints."""

    visible: Bool[np.ndarray, "L"]
    estimate_error: Float[np.ndarray, "L"]
    """Error of the best estimate, metres."""
    closest_error: Float[np.ndarray, "L"]
    """Error of the hypothesis whose joints are closest to the ground truth on average, metres;
    chosen for the visible joints and for the occluded ones apart."""
    std: Float[np.ndarray, "L"]
    """Predicted standard deviation, metres."""
    inside: Bool[np.ndarray, "L"]
    """Whether the 90 % ellipsoid holds the true joint."""
    reprojection: Float[np.ndarray, "L"]
    """Mean image distance of the hypotheses, in heights of the person."""


class DemoScore:
    """Collects a run's errors over the limb joints: hips to ankles and shoulders to wrists."""

    def __init__(self, ground_truth: GroundTruth) -> None:
        self.ground_truth = ground_truth
        self.frames = 0
        self._scores: list[FrameScore] = []
        self._others = 0

    def add(self, estimate: Estimate) -> None:
        """Score one frame."""
        self.frames += 1
        index = estimate.frame.frame_id
        if estimate.found and index < len(self.ground_truth.joints):
            pelvis = _in_image(self.ground_truth.joints[index, 0])
            person = min(
                estimate.people,
                key=lambda one: float(np.linalg.norm(_in_image(one.best.joints[0]) - pelvis)),
            )
            self._scores.append(self._score(person, index))
            self._others += len(estimate.people) - 1

    def _score(self, person: Person, index: int) -> FrameScore:
        limbs = list(LIMB_JOINTS)
        true_joints, best = self.ground_truth.joints[index], person.best.joints
        relative = true_joints - true_joints[0]
        samples = person.hypotheses.joints - person.hypotheses.joints[:, :1]
        distances = np.linalg.norm(samples - relative, axis=-1)[:, limbs]
        estimate = np.linalg.norm(best - best[0] - relative, axis=-1)
        along = (true_joints[0] - best[0]) @ person.ray  # the common distance is not in the cov
        error = true_joints - along * person.ray - best
        visible = self.ground_truth.visible[index, limbs]
        return FrameScore(
            visible=visible,
            estimate_error=estimate[limbs],
            closest_error=np.where(
                visible, _closest(distances, visible), _closest(distances, ~visible)
            ),
            std=std_from_cov(person.joint_cov)[limbs],
            inside=ellipsoid_contains(person.joint_cov, error)[limbs],
            reprojection=self._reprojection(person, index)[limbs],
        )

    def _reprojection(self, person: Person, index: int) -> Float[np.ndarray, "24"]:
        """Mean image distance of the hypotheses' joints from the true ones, in person heights."""
        samples, true_joints = person.hypotheses.joints, self.ground_truth.joints[index]
        pixels = samples[..., :2] / samples[..., 2:]
        true_pixels = true_joints[:, :2] / true_joints[:, 2:]
        return np.linalg.norm(pixels - true_pixels, axis=-1).mean(0) / np.ptp(true_pixels[:, 1])

    def table(self) -> str:
        """The score as a table, visible and occluded joints apart."""
        if not self._scores:
            return "demo: no person was found in any frame"
        lines = [
            f"demo: a person was found in {len(self._scores)} of {self.frames} frames; "
            "12 limb joints against the ground truth",
            f"{'':34}{'visible':>10}{'occluded':>10}",
        ]
        visible = np.stack([score.visible for score in self._scores])
        for name, field, scale, reduce, unit in (
            ("error of best estimate", "estimate_error", 1000, np.mean, "mm"),
            ("error of closest hypothesis", "closest_error", 1000, np.mean, "mm"),
            ("standard deviation, median", "std", 1000, np.median, "mm"),
            ("ground truth in 90 % ellipsoid", "inside", 100, np.mean, "%"),
            ("reprojection", "reprojection", 100, np.mean, "% of height"),
        ):
            values = np.stack([getattr(score, field) for score in self._scores])
            cells = "".join(
                f"{scale * reduce(part):10.1f}" if part.size else f"{'-':>10}"
                for part in (values[visible], values[~visible])
            )
            lines.append(f"{name:34}{cells}  {unit}")
        if self._others:
            lines.append(f"false detections in all frames: {self._others}")
        return "\n".join(lines)


def _closest(
    distances: Float[np.ndarray, "K L"], chosen: Bool[np.ndarray, "L"]
) -> Float[np.ndarray, "L"]:
    """Distances of the hypothesis that is the closest over the chosen joints."""
    return distances[(distances * chosen).sum(1).argmin()]


def _in_image(point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "2"]:
    """Project a point of the camera frame to the plane z = 1."""
    return point[:2] / point[2]
