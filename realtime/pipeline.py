"""One frame in, one estimate out, as a list of named stages.

    frame -> landmarks -> hypotheses -> stature -> fit -> moments -> calibration -> smoothing
          -> world -> Estimate

All stages after the first are gone through for each person in turn, in the same buffers; the flow
may draw the next person's hypotheses in the meantime (`engines.backends.several`). Each stage is a
function of what the one before it returns; every buffer is allocated before the first frame.
Where the height is known, all hypotheses are given it (`stature`). The fit, which is optional,
moves the hypotheses to the visible landmarks. Calibration changes the covariances first and then
moves the hypotheses until they have these covariances, so that both say the same. Smoothing moves
the best estimate alone, and what it moves is added to the covariances; each track has its own
filter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engines.blazepose.people.one_person import OnePersonTracker
from engines.blazepose.people.track import TrackedPerson
from engines.blazepose.people.tracker import PeopleTracker
from engines.body import BodyModel
from engines.camera import Intrinsics, axis_std_by_focal
from engines.covariance import second_moment
from engines.fitting.fit import HypothesisFitter
from engines.fitting.settings import FitConfig
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import FlowOutput, PosedHypotheses, Sampler, skeleton_of
from engines.flow.statistics import joint_moments
from engines.flow.stature import Stature
from engines.hypotheses import body_of, first
from engines.kernels import MomentPlan
from engines.priors.prior import PosePrior
from engines.types import NUM_JOINTS, Estimate, Person, PersonMesh, World
from engines.uncertainty import CovarianceCalibration
from realtime.capture.frame import Frame
from realtime.following import Follower
from realtime.mesh import MeshEstimator
from realtime.smoothing import Smoother, SmoothingConfig, smoothing_plan
from realtime.timing import StageTimer
from realtime.world.estimator import WorldEstimator
from realtime.world.frames import quarters_of

MIN_SAMPLES = 50
"""Smallest number of hypotheses that moments are taken over, however few are published."""


@dataclass(frozen=True)
class Result:
    """Everything that the pipeline knows about one frame."""

    estimate: Estimate
    posed: tuple[PosedHypotheses, ...] = ()
    """The hypotheses behind each of `estimate.people`, all of them, published or not."""


class Pipeline:
    """Estimates the people in each frame in turn; belongs to one thread."""

    def __init__(
        self,
        tracker: PeopleTracker | OnePersonTracker,
        sampler: Sampler,
        body: BodyModel,
        intrinsics: Intrinsics,
        calibration: CovarianceCalibration | None,
        smoothing: SmoothingConfig | None = None,
        published: int | None = None,
        fit: FitConfig | None = None,
        follower: Follower | None = None,
        world: WorldEstimator | None = None,
        height_m: float | None = None,
        prior: PosePrior | None = None,
    ) -> None:
        """Take the stages and allocate what lies between them.

        Args:
            tracker: frame to the landmarks of its people.
            sampler: landmarks to K hypotheses.
            body: that the sampler was opened for.
            intrinsics: of the frames that do not bring their own.
            calibration: of the hypotheses' spread; None leaves it as it is.
            smoothing: of the best estimates.
            published: number of hypotheses that an estimate carries; all K when None.
            fit: of the hypotheses to the landmarks; None leaves them as they are drawn.
            follower: says who is the first of an estimate's people; the nearest when None.
            world: gravity and floor from the people; None leaves them out.
            height_m: of the people, where it is known.
            prior: of the pose, which takes part in the fit; the flow alone knows poses when None.
        """
        K, device = sampler.num_hypotheses, sampler.engine.device
        self.tracker = tracker
        self.sampler = sampler
        self.intrinsics = intrinsics
        self.calibration = calibration
        self.follower = follower or Follower("nearest")
        self.published = K if published is None else published
        assert 1 <= self.published <= K, f"{self.published} of {K} hypotheses"
        self.timer = StageTimer()
        self._shot = 0
        self._body = body
        self._smoothing = smoothing or SmoothingConfig()
        self._smoothing_plan = smoothing_plan(body)
        self._smoothers: dict[int, Smoother] = {}
        self._world = world
        self._quarters = 0
        self._stature = None if height_m is None else Stature(body, K, height_m, device)
        self._moments = MomentPlan(K, NUM_JOINTS, device)
        self._recalibrate = Recalibrator(skeleton_of(body), K, device)
        self._fit = None
        if fit is not None:
            self._fit = HypothesisFitter(skeleton_of(body), K, fit, device, prior)
        self._mesh = MeshEstimator(body, K, device)

    @property
    def backend(self) -> str:
        """Name of what runs the networks."""
        return self.sampler.engine.backend

    def __call__(self, frame: Frame) -> Result:
        """Estimate the people in a frame."""
        if frame.info.shot != self._shot:
            self._shot = frame.info.shot
            self.reset()
        with self.timer.stage("landmarks"):
            tracked = self.tracker(frame.image)
        known = self.tracker.known
        self._smoothers = {i: one for i, one in self._smoothers.items() if i in known}
        intrinsics = frame.intrinsics or self.intrinsics
        t_s = frame.info.media_time_s
        found = list(self._people(tracked, intrinsics, t_s))
        order = self.follower([person for person, _ in found], intrinsics.size, t_s)
        people = tuple(found[i][0] for i in order)
        world = self._world_of(people, intrinsics, t_s)
        return Result(Estimate(frame.info, people, world), tuple(found[i][1] for i in order))

    def reset(self) -> None:
        """Forget what was learned from earlier frames: the next one has nothing to do with them."""
        self.tracker.reset()
        self.follower.reset()
        self._smoothers.clear()
        self._quarters = 0
        if self._world is not None:
            self._world.reset()

    def _world_of(
        self, people: tuple[Person, ...], intrinsics: Intrinsics, t_s: float
    ) -> World | None:
        """Where the camera stands, by all frames up to this one."""
        if self._world is None:
            return None
        with self.timer.stage("world"):
            world = self._world(people, t_s, intrinsics.focal_error)
            self._quarters = quarters_of(world)
        return world

    def _people(
        self, tracked: Sequence[TrackedPerson], intrinsics: Intrinsics, t_s: float
    ) -> Iterator[tuple[Person, PosedHypotheses]]:
        landmarks = [one.landmarks for one in tracked]
        drawn = self.sampler.each(landmarks, intrinsics, self._quarters)
        for one in tracked:
            with self.timer.stage("sampling"):
                samples = next(drawn)
            yield self._person(one, samples, intrinsics, t_s)

    def _person(
        self, tracked: TrackedPerson, samples: FlowOutput, intrinsics: Intrinsics, t_s: float
    ) -> tuple[Person, PosedHypotheses]:
        landmarks = tracked.landmarks
        if self._stature is not None:
            with self.timer.stage("stature"):
                samples = self._stature(samples)
        if self._fit is not None:
            with self.timer.stage("fit"):
                samples = self._fit(samples, landmarks, intrinsics)
        with self.timer.stage("moments"):
            moments = joint_moments(samples.hypotheses, self._moments)
        with self.timer.stage("calibration"):
            posed, joint_cov, ray_std = self._recalibrate.calibrated(
                samples, moments, self.calibration
            )
        with self.timer.stage("smoothing"):
            best = self._smoother(tracked.track_id)(body_of(posed.hypotheses), t_s)
            # The posterior is this frame's: about a filtered body its spread is larger.
            moved = best.joints - posed.hypotheses.joints[0]
            along = float(moved[0] @ moments.ray)
            joint_cov = second_moment(joint_cov, moved - along * moments.ray)
            ray_std = float(np.hypot(ray_std, along))
        person = Person(
            landmarks=landmarks,
            hypotheses=first(posed.hypotheses, self.published),
            best=best,
            joint_cov=joint_cov,
            ray_std=ray_std,
            # The hypotheses take the focal length as given.
            axis_std=axis_std_by_focal(intrinsics.focal_error, float(best.joints[0, 2])),
            ray=moments.ray.astype(float),
            joint_visible=samples.joint_visible,
            track_id=tracked.track_id,
        )
        return person, posed

    def _smoother(self, track_id: int) -> Smoother:
        if track_id not in self._smoothers:
            plan = self._smoothing_plan
            self._smoothers[track_id] = Smoother(self._body, self._smoothing, plan)
        return self._smoothers[track_id]

    def surfaces(self, result: Result) -> tuple[PersonMesh, ...]:
        """Estimate the surface of each of a result's people."""
        with self.timer.stage("mesh"):
            return tuple(
                self._mesh(person.best, person.joint_cov, posed)
                for person, posed in zip(result.estimate.people, result.posed, strict=True)
            )
