"""Landmarks to hypotheses: the trained flow, then forward kinematics.

    Landmarks -> landmark_features -> flow engine (noise z is an input) -> JointPlan -> Hypotheses

The noise is drawn once from a fixed seed and kept, so hypothesis k is the same kind of guess in
every frame: what moves between frames is the posterior, not the dice. z of hypothesis 0 is zero:
the flow's centre, the best estimate.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.backends.engine import Engine, open_engine
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.flow.features import NUM_FEATURES, REACH_M, VirtualCamera, landmark_features
from engines.flow.model import FlowModel
from engines.kernels import JointPlan, Skeleton
from engines.rotations import log_so3
from engines.types import Hypotheses, Landmarks

NOISE_SEED = 20231002
DIM = 24 * 3 + 10 + 3
MAP = "map"
"""Input of a flow that looks at the landmark network's feature map too."""


@dataclass(frozen=True)
class FlowOutput:
    """What the sampler returns for one person in one frame."""

    hypotheses: Hypotheses
    joint_visible: Float[np.ndarray, "24"]
    """Probability that each joint is seen."""


class Sampler:
    """Draws K bodies for a person, the kernels where the network runs. Owns its buffers; one thread
    at a time.
    """

    def __init__(self, engine: Engine, body: BodyModel, num_hypotheses: int) -> None:
        self.engine = engine
        self.joints = JointPlan(skeleton_of(body), num_hypotheses, engine.device)
        engine.inputs["z"][...] = noise(num_hypotheses)
        self._weights = np.full(num_hypotheses, 1.0 / num_hypotheses, np.float32)

    def __call__(self, landmarks: Landmarks, intrinsics: Intrinsics) -> FlowOutput:
        """Draw. The arrays in the result are its own."""
        features, view = features_of(landmarks, intrinsics)
        self.engine.inputs["features"][0] = features
        if MAP in self.engine.inputs:
            assert landmarks.map is not None, (
                "this flow looks at the landmark network's feature map"
            )
            self.engine.inputs[MAP][0] = landmarks.map
        self.engine.run()
        out = self.engine.outputs
        R_left = (view.R_cam_view @ view.R_view_anchor).astype(np.float32)
        posed = self.joints(
            out["rotvec"], R_left, out["betas"], pelvis_in_camera(out["camera"], view)
        )
        rotvec = out["rotvec"].copy()
        rotvec[:, 0] = log_so3(posed.R_root)
        hypotheses = Hypotheses(
            rotvec,
            out["betas"].copy(),
            posed.transl,
            posed.joints,
            out["log_q"].copy(),
            self._weights.copy(),
        )
        return FlowOutput(hypotheses, out["visible"].astype(np.float64))


def noise(count: int) -> Float[np.ndarray, "K D"]:
    """What every frame's hypotheses are made from; number 0 is zero."""
    z = np.random.default_rng(NOISE_SEED).standard_normal((count, DIM), np.float32)
    z[0] = 0.0
    return z


def features_of(
    landmarks: Landmarks, intrinsics: Intrinsics
) -> tuple[Float[np.ndarray, "F"], VirtualCamera]:
    """A person's landmarks as the flow's input."""
    size = np.array(intrinsics.size)
    inside = ((landmarks.points >= 0) & (landmarks.points < size)).all(-1)
    rays, depth = intrinsics.rays(landmarks.points), landmarks.depth / intrinsics.fx
    return landmark_features(
        rays, depth, inside, landmarks.visibility, landmarks.presence, landmarks.world
    )


def pelvis_in_camera(
    camera: Float[np.ndarray, "K 3"], view: VirtualCamera
) -> Float[np.ndarray, "K 3"]:
    """The flow's camera numbers as a point of the camera frame, metres: the inverse of
    `trainer.model.kinematics`' encoding.
    """
    z = REACH_M / view.half_size * np.exp(camera[:, 2])
    pelvis = np.column_stack([camera[:, :2] * (view.half_size * z)[:, None], z])
    return (pelvis @ view.R_cam_view.T).astype(np.float32)


def skeleton_of(body: BodyModel) -> Skeleton:
    """The joints-only part of a body, as the kernels take it."""
    return Skeleton(body.J_template.astype(np.float32), body.J_shapedirs.astype(np.float32))


def open_sampler(
    body: BodyModel,
    num_hypotheses: int = 100,
    backend: str = "auto",
    model: FlowModel | None = None,
) -> Sampler:
    """The shipped flow (or `model`) for a body.

    Raises:
        PenumbraError: if K is below 1, or the model was trained on another body.
    """
    if num_hypotheses < 1:
        raise PenumbraError(
            f"hypotheses: must be at least 1, not {num_hypotheses}; ask for at least one."
        )
    model = model or FlowModel.load()
    model.check_body(body)
    shapes = {"features": (1, NUM_FEATURES), "z": (num_hypotheses, DIM)}
    return Sampler(open_engine(model.onnx, backend, shapes), body, num_hypotheses)
