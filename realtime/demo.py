"""The built-in demo: a painted clip whose truth is known, and the score of a run against it.

The clip is made by `trainer.build_demo`: a person of the default body walks as a subject of the
test split walked, behind a counter. Distances here are in the camera frame after the pelvises have
been put together.
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
    """The shipped video."""
    with as_file(files("realtime") / "assets" / "demo.mp4") as path:
        return Path(path)


def open_demo() -> VideoFile:
    """The clip as a source."""
    video = VideoFile.open_local(clip_path())
    video.name = NAME  # not where it was installed
    return video


@dataclass(frozen=True)
class Truth:
    """What is to be seen in the clip, N frames."""

    joints: Float[np.ndarray, "N 24 3"]
    visible: Bool[np.ndarray, "N 24"]
    focal: float

    @staticmethod
    def load() -> "Truth":
        """Read it from beside the clip."""
        with np.load(clip_path().with_suffix(".npz"), allow_pickle=False) as data:
            return Truth(data["joints"].astype(float), data["visible"], float(data["focal"]))

    def intrinsics(self, size: tuple[int, int]) -> Intrinsics:
        """The camera that the clip was painted with."""
        return Intrinsics(self.focal, self.focal, size[0] / 2, size[1] / 2, size, source="demo")


class DemoScore:
    """Collects a run's errors over the limb joints (hips, knees, ankles, shoulders, elbows,
    wrists).
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.frames = 0
        self._rows: list[dict[str, np.ndarray]] = []

    def add(self, estimate: Estimate) -> None:
        """Score one frame."""
        self.frames += 1
        if estimate.person is not None and estimate.frame.frame_id < len(self.truth.joints):
            self._rows.append(self._score(estimate.person, estimate.frame.frame_id))

    def _score(self, person: Person, frame: int) -> dict[str, np.ndarray]:
        limbs, truth = list(LIMB_JOINTS), self.truth.joints[frame]
        relative = truth - truth[0]
        samples = person.hypotheses.joints - person.hypotheses.joints[:, :1]
        distances = np.linalg.norm(samples - relative, axis=-1)[:, limbs]
        best = distances[distances.mean(1).argmin()]
        center = np.linalg.norm(person.best.joints - person.best.joints[0] - relative, axis=-1)[
            limbs
        ]
        along = (truth[0] - person.best.joints[0]) @ person.ray
        error = truth - along * person.ray - person.best.joints
        return {
            "visible": self.truth.visible[frame, limbs],
            "center": center,
            "best": best,
            "inside": ellipsoid_contains(person.joint_cov, error)[limbs],
            "std": std_from_cov(person.joint_cov)[limbs],
            "reprojection": self._reprojection(person, frame)[limbs],
        }

    def _reprojection(self, person: Person, frame: int) -> Float[np.ndarray, "24"]:
        """Mean distance of the hypotheses' joints to the truth in the picture, in heights of the
        person.
        """
        samples, truth = person.hypotheses.joints, self.truth.joints[frame]
        pixels = samples[..., :2] / samples[..., 2:]
        true_pixels = truth[:, :2] / truth[:, 2:]
        return np.linalg.norm(pixels - true_pixels, axis=-1).mean(0) / np.ptp(true_pixels[:, 1])

    def table(self) -> str:
        """The score, for people to read."""
        if not self._rows:
            return "demo: nobody was found in any frame"
        data = {key: np.stack([row[key] for row in self._rows]) for key in self._rows[0]}
        lines = [
            f"demo: a person was found in {len(self._rows)} of {self.frames} frames; 12 limb joints against the known truth",
            f"{'':28}{'seen':>10}{'hidden':>10}",
        ]
        groups = (data["visible"], ~data["visible"])
        for name, key, scale, reduce, unit in (
            ("error of best estimate", "center", 1000, np.mean, "mm"),
            ("error of best hypothesis", "best", 1000, np.mean, "mm"),
            ("standard deviation, median", "std", 1000, np.median, "mm"),
            ("truth in 90 % ellipsoid", "inside", 100, np.mean, "%"),
            ("reprojection", "reprojection", 100, np.mean, "% of height"),
        ):
            chosen = [data[key][group] for group in groups]
            values = "".join(
                f"{scale * reduce(part):10.1f}" if part.size else f"{'-':>10}" for part in chosen
            )
            lines.append(f"{name:28}{values}  {unit}")
        return "\n".join(lines)
