"""One frame in, one estimate out, as a list of named steps. Everything is allocated before the
first frame.

frame -> landmarks -> hypotheses -> moments -> calibration -> smoothing -> Estimate (-> mesh, if
somebody looks)

CovarianceCalibration changes the covariances first and then moves the hypotheses until they have
them, so both say the same.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from engines.blazepose.tracker import PoseTracker
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.covariance import std_from_cov
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import Sampler, skeleton_of
from engines.flow.statistics import joint_moments
from engines.kernels import MomentPlan, SkinnedMesh, VertexPlan
from engines.types import NUM_JOINTS, Body, Estimate, Hypotheses, Landmarks, Person
from engines.uncertainty import CovarianceCalibration
from realtime.capture.frame import Frame
from realtime.smoothing import Smoother
from realtime.timing import StageTimer

MESH_HYPOTHESES = 50
"""How many hypotheses the mesh's colours are made of: half the cost, hardly another colour."""
MIN_DRAWN = 50
"""Bodies that are drawn at least, however few are asked for: the spread of one or two would promise
what nobody knows.
"""
ASSUMED_FOCAL_ERROR = 0.12
"""Relative standard deviation of a focal length that nobody measured (fields of view of 55 to 75
degrees, see `engines.camera.DEFAULT_FOV_DEG`). The distance to the person is proportional to it."""


@dataclass(frozen=True)
class Mesh:
    """The best estimate's surface."""

    vertices: Float[np.ndarray, "V 3"]
    """Camera frame, metres."""
    std: Float[np.ndarray, "V"]
    """Calibrated standard deviation, metres, root mean square over the axes, distance kept
    apart.
    """


class Pipeline:
    """Call it with each frame in turn, from one thread."""

    def __init__(
        self,
        tracker: PoseTracker,
        sampler: Sampler,
        body: BodyModel,
        intrinsics: Intrinsics,
        calibration: CovarianceCalibration | None,
        smoother: Smoother,
        published: int | None = None,
    ) -> None:
        """Take the parts.

        Args:
            tracker: finds the landmarks.
            sampler: draws the bodies that the moments are taken of.
            body: the one that the sampler draws.
            intrinsics: of the pictures.
            calibration: of the sampler's spread; None leaves it as it is.
            smoother: of the best estimate.
            published: how many of the drawn bodies the estimates carry; all when None.
        """
        self.tracker = tracker
        self.sampler = sampler
        self.body = body
        self.intrinsics = intrinsics
        self.calibration = calibration
        self.smoother = smoother
        self.timer = StageTimer()
        plan, K = sampler.joints, sampler.joints.num_hypotheses
        self.published = K if published is None else published
        assert 1 <= self.published <= K, f"{self.published} of {K} hypotheses"
        self._moments = MomentPlan(K, NUM_JOINTS, plan.device, points=plan.joints)
        mesh = body.decimated
        arrays = (a.astype(np.float32) for a in (mesh.v_template, mesh.shapedirs, mesh.weights))
        count = min(K, MESH_HYPOTHESES)
        self._surface = VertexPlan(SkinnedMesh(*arrays), count, plan.device, source=plan)
        self._surface_weights = np.full(count, 1.0 / count, np.float32)
        self._recalibrate = Recalibrator(skeleton_of(body), plan)
        self._weights = np.full(K, 1.0 / K, np.float32)

    @property
    def backend(self) -> str:
        """What runs the networks."""
        return self.sampler.engine.backend

    def __call__(self, frame: Frame) -> Estimate:
        """Estimate the person in a frame."""
        before = self.tracker.track_id
        with self.timer.stage("landmarks"):
            landmarks = self.tracker(frame.image)
        if landmarks is None or self.tracker.track_id != before:
            self.smoother.reset()
        person = self._person(landmarks, frame) if landmarks else None
        return Estimate(frame.info, person)

    def _person(self, landmarks: Landmarks, frame: Frame) -> Person:
        with self.timer.stage("sampling"):
            samples = self.sampler(landmarks, self.intrinsics)
        with self.timer.stage("moments"):
            moments = joint_moments(samples.hypotheses, self._moments)
        with self.timer.stage("calibration"):
            hypotheses, cov, distance_std = self._recalibrate.calibrated(
                samples, moments, self.calibration
            )
            if not self.intrinsics.calibrated:  # the hypotheses are for the camera as it is assumed
                distance = float(hypotheses.joints[0, 0] @ moments.ray)
                distance_std = float(np.hypot(distance_std, ASSUMED_FOCAL_ERROR * distance))
        with self.timer.stage("smoothing"):
            best = self.smoother(center_of(hypotheses), frame.info.media_time_s)
        published = first(hypotheses, self.published)
        ray, track_id = moments.ray.astype(float), self.tracker.track_id
        return Person(
            landmarks, published, best, cov, distance_std, ray, samples.joint_visible, track_id
        )

    def mesh(self, person: Person) -> Mesh:
        """The surface of the person that was estimated last, for who looks at it."""
        with self.timer.stage("mesh"):
            best = person.best
            rotvec = np.concatenate([best.global_orient, best.body_pose]).reshape(NUM_JOINTS, 3)
            posed = self.body.shaped(best.betas).posed(rotvec, best.transl)
            surface = self._surface.from_source(self._surface_weights)
            # What the drawn bodies still lack; a vertex moves with its bones, so it takes over
            # their correction.
            drawn = std_from_cov(self._moments(None, self._weights).cov.astype(float))
            ratio = std_from_cov(person.joint_cov) / np.maximum(drawn, 1e-4)
            return Mesh(
                posed.vertices("decimated"), surface.std * (self.body.decimated.weights @ ratio)
            )


def first(hypotheses: Hypotheses, count: int) -> Hypotheses:
    """The first `count` of equally weighted draws: still draws, still equally weighted."""
    kept = {field.name: getattr(hypotheses, field.name)[:count] for field in fields(hypotheses)}
    kept["weights"] = kept["weights"] / kept["weights"].sum()
    return Hypotheses(**kept)


def center_of(hypotheses: Hypotheses) -> Body:
    """Hypothesis 0, the flow's centre, as the best estimate."""
    rotvec = hypotheses.rotvec[0].astype(float)
    return Body(
        rotvec[0],
        rotvec[1:].reshape(-1),
        hypotheses.betas[0].astype(float),
        hypotheses.transl[0].astype(float),
        hypotheses.joints[0].astype(float),
    )
