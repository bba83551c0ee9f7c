"""Who walks past the person of a recording, and where."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from trainer.motion.clip import load_clip
from trainer.multiview.filmed_walker import FilmedWalker, cut_out
from trainer.multiview.rig import RigCamera
from trainer.multiview.second_person import RenderedWalker, Walker

_MOTION_CAPTURE = frozenset({".amc", ".bvh", ".npz"})


class Walkers:
    """Lets somebody walk by; who that is, is read once."""

    def __init__(self, walk: Path, part_s: tuple[float, float], way_m: float, clothes: int) -> None:
        """Read the walk.

        Args:
            walk: motion capture of somebody, to be rendered, or a video, to be cut out of.
            part_s: beginning and end of the part of a video, seconds.
            way_m: length of the way of who was filmed, metres.
            clothes: seed of the clothes of who is rendered.

        Raises:
            PenumbraError: it cannot be read.
        """
        self._way_m = way_m
        self._clothes = clothes
        rendered = walk.suffix.lower() in _MOTION_CAPTURE
        self._clip = load_clip(walk) if rendered else None
        self._images = [] if rendered else cut_out(walk, part_s, "walk")

    def past(
        self,
        camera: RigCamera,
        person: Float[np.ndarray, "3"],
        passing: float,
        floor: float,
        frames: int,
    ) -> Walker:
        """Let somebody walk past a person, across a camera's line of sight.

        Args:
            camera: in a world that is z up.
            person: where the person is, camera frame, metres.
            passing: where they pass, metres from the person towards the camera.
            floor: height of the floor, metres.
            frames: of the walk.
        """
        place = (person - camera.t) @ camera.R
        to_camera = (-camera.t @ camera.R - place)[:2]
        to_camera /= np.linalg.norm(to_camera)
        through = np.append(place[:2] + passing * to_camera, floor)
        across = np.array([-to_camera[1], to_camera[0]])
        if self._clip is not None:
            body = BodyModel.load()
            return RenderedWalker.of(self._clip, body, frames, through, across, self._clothes)
        along = self._way_m * np.linspace(-0.5, 0.5, frames)
        return FilmedWalker(self._images, through + along[:, None] * np.append(across, 0.0))
