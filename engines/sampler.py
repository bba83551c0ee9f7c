"""Landmarks to hypotheses: the trained flow, then forward kinematics.

    Landmarks -> observe -> flow engine (noise z is an input) -> JointPlan -> Hypotheses

The noise is drawn once from a fixed seed and kept, so hypothesis k is the same kind of guess in every frame: what moves
between frames is the posterior, not the dice. z of hypothesis 0 is zero: the flow's centre, the best estimate.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from calib.camera import Intrinsics
from calib.uncertainty import Calibration
from engines.body import BodyModel
from engines.engine import Engine, open_engine
from engines.errors import PenumbraError
from engines.features import NUM_FEATURES, NUM_POINT_FEATURES, REACH_M, View, observe, observe_points
from engines.fitting import FitConfig, fitted, seen
from engines.kernels import JointPlan, Skeleton
from engines.rotations import log_so3
from engines.types import Hypotheses, Landmarks

NOISE_SEED = 20231002
DIM = 24 * 3 + 10 + 3
MAP = "map"
"""Input of a flow that looks at the landmark network's feature map too."""


ANCHOR = "anchor"
"""Output of a flow that finds the body's orientation itself and is told 2D landmarks only."""


@dataclass(frozen=True)
class FlowModel:
    """A trained flow on disk: the graph and the record of how it was made."""

    onnx: Path
    record: dict[str, Any]

    @staticmethod
    def load(path: Path | None = None) -> "FlowModel":
        """Read a model; the shipped one by default.

        Raises:
            PenumbraError: if the graph or its record (`.json` beside it) is missing, or the two do not belong together.
        """
        if path is None:
            with as_file(files("engines") / "assets" / "flow.onnx") as shipped:
                path = Path(shipped)
        try:
            record = json.loads(path.with_suffix(".json").read_text())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError) as error:
            raise PenumbraError(
                f"The model {path} needs its record {path.with_suffix('.json').name}: {error}."
            ) from error
        if record.get("sha256") != digest:
            raise PenumbraError(f"The model {path} is not the one that {path.stem}.json describes; export it again.")
        return FlowModel(path, record)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the graph returns, as far as its record says more than the usual."""
        return tuple(self.record.get("outputs", ()))

    @property
    def calibration(self) -> Calibration | None:
        """How its spread is to be corrected; None if that was never measured.

        Raises:
            PenumbraError: if the record's calibration cannot be read.
        """
        stored = self.record.get("calibration")
        try:
            return Calibration.from_json(stored) if stored else None
        except (KeyError, TypeError, ValueError) as error:
            name = self.onnx.with_suffix(".json").name
            raise PenumbraError(
                f"{name} holds no readable calibration; run python -m calib.uncertainty again."
            ) from error

    def check_body(self, body: BodyModel) -> None:
        """Refuse a body that the flow was not trained on.

        Raises:
            PenumbraError: if the rest joints differ by more than 2 cm on average.
        """
        trained_on = np.array(self.record["J_template"], np.float64)
        apart = np.linalg.norm(_from_pelvis(body.J_template) - _from_pelvis(trained_on), axis=1).mean()
        if apart > 0.02:
            raise PenumbraError(
                f"The model {self.onnx.name} was trained on another body than {body.name} (joints {apart * 100:.1f} cm "
                "apart on average); choose the body that it was trained on, or train one for this body."
            )


def _from_pelvis(joints: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
    return joints - joints[0]


@dataclass(frozen=True)
class Samples:
    """What the sampler returns for one person in one frame."""

    hypotheses: Hypotheses
    joint_visible: Float[np.ndarray, "24"]
    """Probability that each joint is seen."""


class Sampler:
    """Draws K bodies for a person, the kernels where the network runs. Owns its buffers; one thread at a time."""

    def __init__(
        self, engine: Engine, body: BodyModel, num_hypotheses: int, fit: FitConfig | None = None
    ) -> None:
        self.engine, self._body, self._fit = engine, body, fit
        self.joints = JointPlan(skeleton_of(body), num_hypotheses, engine.device)
        engine.inputs["z"][...] = noise(num_hypotheses)
        self._weights = np.full(num_hypotheses, 1.0 / num_hypotheses, np.float32)

    def __call__(self, landmarks: Landmarks, intrinsics: Intrinsics) -> Samples:
        """Draw. The arrays in the result are its own."""
        finds_anchor = ANCHOR in self.engine.outputs
        features, view = look_at_points(landmarks, intrinsics) if finds_anchor else look(landmarks, intrinsics)
        self.engine.inputs["features"][0] = features
        if MAP in self.engine.inputs:
            assert landmarks.map is not None, "this flow looks at the landmark network's feature map"
            self.engine.inputs[MAP][0] = landmarks.map
        self.engine.run()
        out = self.engine.outputs
        R_view_anchor = out[ANCHOR] if finds_anchor else view.R_view_anchor
        R_left = (view.R_cam_view @ R_view_anchor).astype(np.float32)
        posed = self.joints(out["tangent"], R_left, out["betas"], pelvis_in_camera(out["camera"], view))
        rotvec = out["tangent"].copy()
        rotvec[:, 0] = log_so3(posed.R_root)
        hypotheses = Hypotheses(
            rotvec, out["betas"].copy(), posed.transl, posed.joints, out["log_q"].copy(), self._weights.copy()
        )
        if self._fit is not None:
            rays = intrinsics.rays(landmarks.points)
            inside = _inside(landmarks, intrinsics)
            said = seen(rays, inside, landmarks.visibility, float(view.half), self._fit)
            hypotheses = fitted(self._body, hypotheses, said, self._fit)
        return Samples(hypotheses, out["visible"].astype(np.float64))


def noise(count: int) -> Float[np.ndarray, "K D"]:
    """What every frame's hypotheses are made from; number 0 is zero."""
    z = np.random.default_rng(NOISE_SEED).standard_normal((count, DIM), np.float32)
    z[0] = 0.0
    return z


def look(landmarks: Landmarks, intrinsics: Intrinsics) -> tuple[Float[np.ndarray, "F"], View]:
    """A person's landmarks as the flow's input."""
    inside = _inside(landmarks, intrinsics)
    rays, depth = intrinsics.rays(landmarks.points), landmarks.depth / intrinsics.fx
    return observe(rays, depth, inside, landmarks.visibility, landmarks.presence, landmarks.world)


def look_at_points(landmarks: Landmarks, intrinsics: Intrinsics) -> tuple[Float[np.ndarray, "F"], View]:
    """A person's landmarks as the input of a flow that finds the anchor itself."""
    inside = _inside(landmarks, intrinsics)
    return observe_points(intrinsics.rays(landmarks.points), inside, landmarks.visibility, landmarks.presence)


def _inside(landmarks: Landmarks, intrinsics: Intrinsics) -> Bool[np.ndarray, "33"]:
    """Whether each landmark lies in the picture."""
    return ((landmarks.points >= 0) & (landmarks.points < np.array(intrinsics.size))).all(-1)


def pelvis_in_camera(camera: Float[np.ndarray, "K 3"], view: View) -> Float[np.ndarray, "K 3"]:
    """The flow's camera numbers as a point of the camera frame, metres: the inverse of `trainer.model.kinematics`' encoding."""
    z = REACH_M / view.half * np.exp(camera[:, 2])
    pelvis = np.column_stack([camera[:, :2] * (view.half * z)[:, None], z])
    return (pelvis @ view.R_cam_view.T).astype(np.float32)


def skeleton_of(body: BodyModel) -> Skeleton:
    """The joints-only part of a body, as the kernels take it."""
    return Skeleton(body.J_template.astype(np.float32), body.J_shapedirs.astype(np.float32))


def open_sampler(
    body: BodyModel,
    num_hypotheses: int = 100,
    backend: str = "auto",
    model: FlowModel | None = None,
    fit: FitConfig | None = None,
) -> Sampler:
    """The shipped flow (or `model`) for a body; with `fit`, hypotheses are fitted to the visible landmarks.

    Raises:
        PenumbraError: if K is below 1, or the model was trained on another body.
    """
    if num_hypotheses < 1:
        raise PenumbraError(f"--hypotheses must be at least 1, not {num_hypotheses}.")
    model = model or FlowModel.load()
    model.check_body(body)
    width = NUM_POINT_FEATURES if ANCHOR in model.outputs else NUM_FEATURES
    shapes = {"features": (1, width), "z": (num_hypotheses, DIM)}
    return Sampler(open_engine(model.onnx, backend, shapes), body, num_hypotheses, fit)
