"""Landmarks to hypotheses: the trained flow, then forward kinematics.

    Landmarks -> features (1, F) -> flow(features, z) -> rotvec, betas, camera -> PosedHypotheses

The noise z (K, D) is drawn once from a fixed seed and kept: hypothesis k comes from the same z in
every frame, so what changes between frames is the posterior alone. z of hypothesis 0 is zero: the
flow's centre, which is the best estimate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from engines.backends.engine import AsyncEngine, Engine, open_engine, open_several
from engines.backends.several import run_each
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.flow.features import (
    REACH_M,
    FeatureName,
    VirtualCamera,
    landmark_features,
    landmark_features_2d,
    num_features,
)
from engines.flow.model import FlowModel
from engines.kernels import JointPlan, Skeleton
from engines.printable import printable
from engines.types import NUM_BETAS, NUM_JOINTS, Hypotheses, Landmarks

NOISE_SEED = 20231002
DIM = 24 * 3 + 10 + 3
MAX_LOG_RATIO = 3.0
"""Bound of the flow's s (`pelvis_in_camera`), whose size is rarely above 1. Of a scrap of a person
right before the lens it draws far larger ones, kilometres away."""
_QUARTERS = [
    np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    for cosine, sine in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
]
"""R_upright_cam of a camera that is rolled by so many quarters of a turn."""


@dataclass(frozen=True)
class PosedHypotheses:
    """Hypotheses and their bone transforms, with which a mesh can be skinned."""

    hypotheses: Hypotheses
    T_cam_rest: Float[np.ndarray, "K 24 3 4"]
    """[R_j | t_j] of each bone, from the shaped body at rest to the camera."""


@dataclass(frozen=True)
class FlowOutput:
    """The posterior of one person in one frame."""

    posed: PosedHypotheses
    joint_visible: Float[np.ndarray, "24"]
    """Probability that each joint is visible."""
    view: VirtualCamera
    """What the flow's numbers were relative to."""
    heavy: bool
    """Whether the heavy network found the landmarks."""

    @property
    def hypotheses(self) -> Hypotheses:
        """The samples without their bone transforms."""
        return self.posed.hypotheses

    @property
    def half_size(self) -> float:
        """Half the person's size on the plane z = 1 of the view."""
        return float(self.view.half_size)


class Sampler:
    """Draws K bodies for a person. Its buffers are allocated once, for one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        body: BodyModel,
        num_hypotheses: int,
        features: FeatureName = "landmarks_3d",
        several: Sequence[AsyncEngine] = (),
    ) -> None:
        """Prepare engines that `open_sampler` opened; the kernels run on the first one's device.

        Args:
            engine: that runs the flow.
            body: that the flow was trained on.
            num_hypotheses: K.
            features: that the flow takes.
            several: engines of the same flow for several people.
        """
        self.engine = engine
        self._several = several
        self.features: FeatureName = features
        self.num_hypotheses = num_hypotheses
        self._forward_kinematics = JointPlan(skeleton_of(body), num_hypotheses, engine.device)
        self._weights = np.full(num_hypotheses, 1.0 / num_hypotheses, np.float32)
        z = noise(num_hypotheses)
        for each in (engine, *several):
            each.inputs["z"][...] = z

    def __call__(
        self, landmarks: Landmarks, intrinsics: Intrinsics, quarters: int = 0
    ) -> FlowOutput:
        """Draw the hypotheses. The arrays of the result are the caller's.

        Args:
            landmarks: of the person.
            intrinsics: of the image.
            quarters: of a turn by which the camera is rolled counterclockwise as it looks: phones
                lie on their side. The flow was trained on cameras that mostly stand upright, so it
                is shown the person as from one; the result is in the camera frame as ever.
        """
        return next(self.each([landmarks], intrinsics, quarters))

    def each(
        self, people: Sequence[Landmarks], intrinsics: Intrinsics, quarters: int = 0
    ) -> Iterator[FlowOutput]:
        """Draw the hypotheses of several people, one after another as they are asked for.

        Where the backend can, the flow computes those of the others while the caller works on one.
        """
        encoded = [features_of(one, intrinsics, self.features, quarters) for one in people]
        outputs = run_each(self.engine, self._several, [vector for vector, _ in encoded], _write)
        for out, (_, view), one in zip(outputs, encoded, people, strict=True):
            yield self._pose(out, view, one.network == "heavy")

    def _pose(self, out: Mapping[str, np.ndarray], view: VirtualCamera, heavy: bool) -> FlowOutput:
        """Bring the flow's bodies from the view to the camera frame, and pose them."""
        R_view_anchor = out.get("anchor", view.R_view_anchor)
        R_cam_anchor = (view.R_cam_view @ R_view_anchor).astype(np.float32)
        pelvis = pelvis_in_camera(out["camera"], view)
        posed = self._forward_kinematics(out["rotvec"], R_cam_anchor, out["betas"], pelvis)
        rotvec = out["rotvec"].copy()
        rotvec[:, 0] = posed.root
        hypotheses = Hypotheses(
            rotvec,
            out["betas"].copy(),
            posed.transl,
            posed.joints,
            out["log_q"].copy(),
            self._weights.copy(),
        )
        visible = out["visible"].astype(np.float64)
        posed_hypotheses = PosedHypotheses(hypotheses, posed.T_cam_rest)
        return FlowOutput(posed_hypotheses, visible, view, heavy)


def _write(inputs: Mapping[str, np.ndarray], features: Float[np.ndarray, "F"]) -> None:
    """Write a person's features into the flow's input."""
    inputs["features"][0] = features


def noise(count: int) -> Float[np.ndarray, "K D"]:
    """Draw the noise that the hypotheses of every frame are made from; number 0 is zero."""
    z = np.random.default_rng(NOISE_SEED).standard_normal((count, DIM), np.float32)
    z[0] = 0.0
    return z


def features_of(
    landmarks: Landmarks,
    intrinsics: Intrinsics,
    features: FeatureName = "landmarks_3d",
    quarters: int = 0,
) -> tuple[Float[np.ndarray, "F"], VirtualCamera]:
    """Encode a person's landmarks as the flow's input; arguments as of `Sampler`."""
    size = np.array(intrinsics.size)
    inside = ((landmarks.points >= 0) & (landmarks.points < size)).all(-1)
    R_upright_cam = _QUARTERS[quarters % 4]
    rays = intrinsics.rays(landmarks.points) @ R_upright_cam[:2, :2].T
    if features == "landmarks_2d":
        vector, view = landmark_features_2d(
            rays, inside, landmarks.visibility, landmarks.presence, landmarks.peak
        )
    else:
        depth, world = landmarks.depth / intrinsics.fx, landmarks.world @ R_upright_cam.T
        vector, view = landmark_features(
            rays, depth, inside, landmarks.visibility, landmarks.presence, world
        )
    return vector, replace(view, R_cam_view=R_upright_cam.T @ view.R_cam_view)


def pelvis_in_camera(
    camera: Float[np.ndarray, "K 3"], view: VirtualCamera
) -> Float[np.ndarray, "K 3"]:
    """Decode the flow's camera numbers (u, v, s) as the pelvis in the camera frame, metres.

    With h the person's half size on the plane z = 1 of the view, the distance is
    z = `REACH_M` / h * exp(s), and the pelvis lies at (u h z, v h z, z) in the view.
    """
    log_ratio = np.clip(camera[:, 2], -MAX_LOG_RATIO, MAX_LOG_RATIO)
    z = REACH_M / view.half_size * np.exp(log_ratio)
    pelvis = np.column_stack([camera[:, :2] * (view.half_size * z)[:, None], z])
    return (pelvis @ view.R_cam_view.T).astype(np.float32)


def skeleton_of(body: BodyModel) -> Skeleton:
    """Return the joints of a body at rest, as the kernels take them."""
    return Skeleton(body.J_template.astype(np.float32), body.J_shapedirs.astype(np.float32))


def open_sampler(
    body: BodyModel,
    num_hypotheses: int = 100,
    backend: str = "auto",
    model: FlowModel | None = None,
    max_people: int = 1,
) -> Sampler:
    """Open a flow for a body.

    Args:
        body: that the flow was trained on.
        num_hypotheses: K.
        backend: see `engines.backends.engine.open_engine`.
        model: the shipped one when None.
        max_people: who are sampled at a time, where the backend can.

    Raises:
        PenumbraError: if K is below 1, the model was trained on another body, or its graph is not
            that of a flow.
    """
    if num_hypotheses < 1:
        raise PenumbraError(f"hypotheses: must be at least 1, not {num_hypotheses}; ask for more.")
    model = model or FlowModel.load()
    model.check_body(body)
    shapes = {"features": (1, num_features(model.features)), "z": (num_hypotheses, DIM)}
    engine = open_engine(model.onnx, backend, shapes)
    _check_graph(engine, model, num_hypotheses)
    several = open_several(model.onnx, backend, shapes, count=max_people)
    return Sampler(engine, body, num_hypotheses, model.features, several)


def _check_graph(engine: Engine, model: FlowModel, num_hypotheses: int) -> None:
    """Refuse a graph that is no flow, or whose weights are damaged."""
    K = num_hypotheses
    onnx = model.onnx
    wanted = {
        "features": (1, num_features(model.features)),
        "z": (K, DIM),
        "rotvec": (K, NUM_JOINTS, 3),
        "betas": (K, NUM_BETAS),
        "camera": (K, 3),
        "log_q": (K,),
        "visible": (NUM_JOINTS,),
    }
    if model.features == "landmarks_2d":
        wanted["anchor"] = (3, 3)
    arrays = {**engine.inputs, **engine.outputs}
    found = {name: array.shape for name, array in arrays.items()}
    if found != wanted or any(array.dtype != np.float32 for array in arrays.values()):
        differing = sorted(name for name, _ in found.items() ^ wanted.items()) or ["a dtype"]
        raise PenumbraError(
            f"model: {onnx.name} is not the graph of a flow ({printable(differing[0][:40])} "
            "differs); export the flow again."
        )
    engine.run()
    if not all(np.isfinite(array).all() for array in engine.outputs.values()):
        raise PenumbraError(
            f"model: {onnx.name} returns numbers that are not finite; export the flow again."
        )
