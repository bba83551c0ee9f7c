"""Samples made of rendered scenes by the real landmark network.

What a flow learns from them is how this network really fails: behind a table, at the image's
border, seen from behind.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.backends.engine import open_engine
from engines.blazepose.detector import Detector
from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.landmarker import Landmarker
from engines.blazepose.models import MIN_SCORE, detector_model, landmarker_model
from engines.blazepose.roi import apply_affine, image_to_crop
from engines.blazepose.tracker import FindLandmarks, PoseTracker
from engines.body import BodyModel
from engines.types import LIMB_JOINTS, LandmarkNetwork, Landmarks, Roi
from trainer.data.samples import landmark_record
from trainer.render.crops import SceneCrop, SceneFrame, SceneRenderer
from trainer.render.scenes import CROPS, Scene

_WHOLE_CROP = Roi(np.array([CROP / 2, CROP / 2]), CROP, 0.0)
_SETTLING = 3
"""Times that the tracker is shown the same frame: a detection, then its own crops."""
_MIN_VISIBLE = 3
"""Limb joints that must be visible for a person to be lost or found."""
_ON_PERSON = 0.5
"""Share of the visible joints that a region must hold to be one of the person's."""


@dataclass(frozen=True)
class TrackedSample:
    """What the live system makes of the person in a frame."""

    record: dict[str, np.ndarray] | None
    """None where it loses the person."""


@dataclass(frozen=True)
class SampleRenderer:
    """Turns scenes into samples; opened once in a process."""

    renderer: SceneRenderer
    landmarker: FindLandmarks
    tracker: PoseTracker

    @classmethod
    def open(cls, body: BodyModel, network: LandmarkNetwork = "full") -> "SampleRenderer":
        """Prepare the body, and open the networks on one thread."""
        engine = open_engine(landmarker_model(network), "openvino", num_threads=1)
        landmarker = Landmarker(engine, network)
        detector = Detector(open_engine(detector_model(), "openvino", num_threads=1))
        tracker = PoseTracker(detector, landmarker)
        return cls(SceneRenderer.of(body), landmarker, tracker)

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

    def tracked_sample(self, scene: Scene, rng: np.random.Generator) -> TrackedSample | None:
        """Render all that the camera sees, and find the person as the live system does.

        Returns:
            None where there is too little of a person to be found.
        """
        frame = self.renderer.frame(scene, rng)
        if frame is None or frame.joint_visible[list(LIMB_JOINTS)].sum() < _MIN_VISIBLE:
            return None
        self.tracker.reset()
        landmarks = None
        for _ in range(_SETTLING):
            landmarks = self.tracker(frame.image)
        if landmarks is None:
            return TrackedSample(None)
        return TrackedSample(frame_record(scene, frame, landmarks))


def frame_record(
    scene: Scene,
    frame: SceneFrame,
    landmarks: Landmarks,
) -> dict[str, np.ndarray] | None:
    """Put what the tracker found in a frame beside what is true of the scene.

    Args:
        scene: that was rendered.
        frame: of it.
        landmarks: in px of the frame.

    Returns:
        The record; None where the tracker has found something else than the person.
    """
    crop_from_frame = image_to_crop(landmarks.roi, CROP)
    in_crop = apply_affine(crop_from_frame, frame.joints_px[frame.joint_visible])
    if ((in_crop >= 0) & (in_crop < CROP)).all(-1).mean() < _ON_PERSON:
        return None
    crop_from_image = _composed(crop_from_frame, frame.frame_from_image)
    moved = _in_image(landmarks, frame.frame_from_image)
    record = landmark_record(moved, scene.focal, scene.size, frame.window, crop_from_image)
    return record | _labels(scene, frame.joint_visible)


def scene_record(scene: Scene, crop: SceneCrop, landmarks: Landmarks) -> dict[str, np.ndarray]:
    """Put what the network found in a crop beside what is true of the scene.

    Args:
        scene: that was rendered.
        crop: of it.
        landmarks: in px and axes of the crop; the record has them in those of the scene's image.
    """
    moved = _in_image(landmarks, crop.crop_from_image)
    record = landmark_record(moved, scene.focal, scene.size, crop.window, crop.crop_from_image)
    return record | _labels(scene, crop.joint_visible)


def _labels(scene: Scene, joint_visible: Bool[np.ndarray, "24"]) -> dict[str, np.ndarray]:
    return {
        "crop": np.array(list(CROPS).index(scene.crop), np.int8),
        "rotvec": scene.rotvec.astype(np.float32),
        "betas": scene.betas.astype(np.float32),
        "pelvis": scene.pelvis.astype(np.float32),
        "joint_visible": joint_visible,
    }


def _composed(
    after: Float[np.ndarray, "2 3"], first: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "2 3"]:
    """The affine map that applies `first`, then `after`."""
    linear = after[:, :2] @ first[:, :2]
    return np.column_stack([linear, after[:, :2] @ first[:, 2] + after[:, 2]])


def _in_image(landmarks: Landmarks, crop_from_image: Float[np.ndarray, "2 3"]) -> Landmarks:
    """Express landmarks of a crop in px and axes of the image that it is from."""
    image_from_crop = cv2.invertAffineTransform(crop_from_image)
    linear = image_from_crop[:, :2]
    scale = np.sqrt(np.linalg.det(linear))
    world = landmarks.world.copy()
    world[:, :2] = world[:, :2] @ (linear / scale).T
    points = cv2.transform(landmarks.points.astype(np.float64)[None], image_from_crop)[0]
    return replace(landmarks, points=points, depth=landmarks.depth * scale, world=world)
