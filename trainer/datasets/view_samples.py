"""Samples of single views on real footage: landmarks beside the joints of a reference."""

import numpy as np

from engines.types import LIMB_LANDMARKS, Landmarks
from trainer.data.video_reader import frame_rate
from trainer.datasets.recordings import Recording
from trainer.evaluation.motion_scores import CameraTrack
from trainer.evaluation.view_scores import ViewSample
from trainer.multiview.triangulation import TriangulationConfig, triangulate_landmarks


def view_samples(
    recording: Recording,
    landmarks: list[list[Landmarks | None]],
    config: TriangulationConfig,
) -> dict[str, list[ViewSample]]:
    """Put landmarks beside reference joints, by the name of the camera.

    Args:
        recording: of one person.
        landmarks: of every frame of each camera.
        config: of the reference that is triangulated where the recording has none.
    """
    if recording.reference:
        return _samples_with_reference(recording, landmarks)
    names = [camera.video.stem for camera in recording.cameras]
    samples: dict[str, list[ViewSample]] = {name: [] for name in names}
    for frames in recording.instants:
        found = [
            one[frame] for one, frame in zip(landmarks, frames, strict=True) if frame < len(one)
        ]
        complete = [one for one in found if one is not None]
        if len(complete) < len(recording.cameras):
            continue
        world = triangulate_landmarks(complete, recording.cameras, config)
        if len(world) < config.min_joints:
            continue
        joints = np.array([LIMB_LANDMARKS[number] for number in world])
        points = np.stack(list(world.values()))
        for name, camera, one in zip(names, recording.cameras, complete, strict=True):
            sample = ViewSample(one, camera.intrinsics, joints, camera.to_camera(points))
            samples[name].append(sample)
    return samples


def view_tracks(
    recording: Recording,
    landmarks: list[list[Landmarks | None]],
    samples: dict[str, list[ViewSample]],
) -> dict[str, CameraTrack]:
    """Put every frame of each camera beside its samples, by the name of the camera.

    Args:
        recording: of one person.
        landmarks: of every frame of each camera.
        samples: of `view_samples`.

    Raises:
        PenumbraError: a video does not say its frame rate.
    """
    pairs = zip(recording.cameras, landmarks, strict=True)
    return {
        (name := camera.video.stem): CameraTrack(
            found, camera.intrinsics, frame_rate(camera.video, "folders"), samples[name]
        )
        for camera, found in pairs
    }


def _samples_with_reference(
    recording: Recording, landmarks: list[list[Landmarks | None]]
) -> dict[str, list[ViewSample]]:
    joints = np.array(recording.reference_joints)
    samples = {}
    for camera, positions, found in zip(
        recording.cameras, recording.reference, landmarks, strict=True
    ):
        samples[camera.video.stem] = [
            ViewSample(one, camera.intrinsics, joints[known], target[known])
            for one, target in zip(found, positions, strict=False)
            if one is not None and (known := np.isfinite(target).all(-1)).sum() > 2
        ]
    return samples
