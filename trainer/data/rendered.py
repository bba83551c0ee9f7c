"""Samples made of rendered scenes by the real landmark network.

What a flow learns from them is how this network really fails: behind a table, at the image's
border, seen from behind.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.backends.engine import open_engine
from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.landmarker import Landmarker
from engines.blazepose.models import MIN_SCORE, landmarker_model
from engines.blazepose.tracker import FindLandmarks
from engines.body import BodyModel
from engines.types import Landmarks, Roi
from trainer.data.samples import landmark_record
from trainer.render.crops import SceneCrop, SceneRenderer
from trainer.render.scenes import CROPS, Scene

_WHOLE_CROP = Roi(np.array([CROP / 2, CROP / 2]), CROP, 0.0)


@dataclass(frozen=True)
class SampleRenderer:
    """Turns scenes into samples; opened once in a process."""

    renderer: SceneRenderer
    landmarker: FindLandmarks

    @classmethod
    def open(cls, body: BodyModel) -> "SampleRenderer":
        """Prepare the body, and open the landmark network on one thread."""
        engine = open_engine(landmarker_model(), "openvino", num_threads=1)
        return cls(SceneRenderer.of(body), Landmarker(engine))

    @property
    def body(self) -> BodyModel:
        """The body that is rendered."""
        return self.renderer.body

    def sample(self, scene: Scene, rng: np.random.Generator) -> dict[str, np.ndarray] | None:
        """Make the record of a scene; None where the network finds no person in it."""
        pair = self.sample_and_image(scene, rng)
        return None if pair is None else pair[0]

    def sample_and_image(
        self, scene: Scene, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], UInt8[np.ndarray, "S S 3"]] | None:
        """Make the same with the crop that the network saw."""
        crop = self.renderer.crop(scene, rng)
        if crop is None:
            return None
        landmarks, _ = self.landmarker(crop.image, _WHOLE_CROP)
        if landmarks.score < MIN_SCORE or crop.empty:
            return None
        return scene_record(scene, crop, landmarks), crop.image


def scene_record(scene: Scene, crop: SceneCrop, landmarks: Landmarks) -> dict[str, np.ndarray]:
    """Put what the network found in a crop beside what is true of the scene.

    Args:
        scene: that was rendered.
        crop: of it.
        landmarks: in px and axes of the crop; the record has them in those of the scene's image.
    """
    moved = _in_image(landmarks, crop.crop_from_image)
    record = landmark_record(moved, scene.focal, scene.size, crop.window, crop.crop_from_image)
    return record | {
        "crop": np.array(list(CROPS).index(scene.crop), np.int8),
        "rotvec": scene.rotvec.astype(np.float32),
        "betas": scene.betas.astype(np.float32),
        "pelvis": scene.pelvis.astype(np.float32),
        "joint_visible": crop.joint_visible,
    }


def _in_image(landmarks: Landmarks, crop_from_image: Float[np.ndarray, "2 3"]) -> Landmarks:
    """Express landmarks of a crop in px and axes of the image that it is from."""
    image_from_crop = cv2.invertAffineTransform(crop_from_image)
    linear = image_from_crop[:, :2]
    scale = np.sqrt(np.linalg.det(linear))
    world = landmarks.world.copy()
    world[:, :2] = world[:, :2] @ (linear / scale).T
    points = cv2.transform(landmarks.points.astype(np.float64)[None], image_from_crop)[0]
    return replace(landmarks, points=points, depth=landmarks.depth * scale, world=world)
