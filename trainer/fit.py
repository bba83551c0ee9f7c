"""Fit bodies to a video, or to landmarks that were found before, and write them as an archive.

    python -m trainer.fit walk.mp4 --objective smplify --out walk.npz
    python -m trainer.fit run.npz --objective smplify-x --out fitted.npz

SOURCE is whatever `run_demo.py` reads that has an end (video, photo, folder); an archive that its
`--out` wrote, of which the landmarks are taken; or any .npz with `landmarks` (N, 33, 3: px, px,
visibility), `camera_matrix` (3, 3) and `image_size` (2), counting pixels from the corner of the
image (OpenCV's + 0.5). The result is an archive as that of a run (`realtime/README.md`). Each frame
is fitted by itself, but by `humor`, which begins with `anchored` and fits the motion of each
person. Covariances are calibrated, those of `smplify` and `smplify-x` for the default prior and
body: `calibrated` in the archive's `meta` says whether, `calibration` how well the calibration held
on other people. Those of `humor` are of the motion as a whole.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from engines.blazepose.people.tracker import open_people_tracker
from engines.body import BodyModel
from engines.camera import Intrinsics, axis_std_by_focal
from engines.distinct import check_distinct
from engines.errors import PenumbraError, check_at_least
from engines.fitting.sequences.sequence import FEWEST_FRAMES
from engines.flow.model import FlowModel
from engines.hypotheses import body_of
from engines.types import Estimate, FrameInfo, LandmarkNetwork, Landmarks, Person, World
from engines.uncertainty import CovarianceCalibration
from realtime.archive import Archive
from realtime.capture.reader import frames
from realtime.config import RunConfig
from realtime.inputs import open_source
from realtime.landmark_choice import choose
from realtime.opening import open_camera_model
from realtime.run_record import RunRecord
from trainer.command import start
from trainer.datasets.found_landmarks import read_landmarks
from trainer.estimation.motion_objective import MotionFitter
from trainer.estimation.objectives import (
    DEFAULT_PRIOR,
    Objective,
    Starts,
    check_objective,
    open_objective,
)
from trainer.estimation.prediction import TOGETHER, ViewEstimate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitBodiesConfig:
    """What to fit, and how."""

    source: Annotated[str, tyro.conf.Positional]
    """Video, photo, folder or address; an archive of a run; or a file of landmarks."""
    out: Path
    """NPZ file that gets the fitted bodies."""
    objective: Literal[Objective, "humor"] = "smplify"
    """What bodies should agree with."""
    prior: str | None = None
    """Pose prior: gmm, vposer, ndf, nrdf, flow, a file .npz, or none. By default gmm for smplify,
    vposer for smplify-x, none for anchored; humor has its own."""
    starts: Starts = "mean"
    """Where smplify and smplify-x begin: before the camera at the mean pose, or at hypotheses of
    the flow; at the flipped body too."""
    calibrate: bool = True
    """Calibrate covariances and hypotheses, where a calibration was made."""
    hypotheses: int = 100
    """Bodies drawn for each person."""
    landmarks: LandmarkNetwork | None = None
    """Landmark network for a video; as `run_demo.py` chooses when None."""
    focal: float | None = None
    """Focal length for a video, px; by default a field of view of 63 degrees is assumed."""
    calib: Path | None = None
    """Camera calibration for a video."""
    max_people: int = 4
    """Number of people who are followed in a video at most."""
    max_frames: int | None = None
    """Stop after so many frames."""
    body: Path | None = None
    """Body made by `python -m engines.convert_smpl`; the default one when None."""
    model: Path | None = None
    """Flow for anchored, humor and starts; the shipped one when None."""
    force: bool = False
    """Replace an output that exists already."""


class Found(NamedTuple):
    """Whom the landmark network found in a frame."""

    frame: FrameInfo
    people: tuple[tuple[int, Landmarks], ...]
    """The number of each person's track, and the landmarks."""
    intrinsics: Intrinsics
    world: World | None = None


Seen = tuple[Found, int, Landmarks]
"""Somebody in a frame: the number of their track, and their landmarks."""


def _uses_flow(config: FitBodiesConfig) -> bool:
    return config.objective in ("anchored", "humor") or config.starts == "flow"


def find(config: FitBodiesConfig) -> tuple[Iterator[Found], dict[str, object]]:
    """Open the source.

    Returns:
        Its frames, and what the archive says about it.

    Raises:
        PenumbraError: it cannot be opened or holds no landmarks.
    """
    path = Path(config.source)
    if path.suffix == ".npz":
        for argument in ("focal", "calib", "landmarks"):
            if getattr(config, argument) is not None:
                raise PenumbraError(
                    f"{argument}: is for videos, and {path.name} has its own; leave it out."
                )
        stored = read_landmarks(path)
        if _uses_flow(config) and not stored.know_heatmaps:
            log.warning(
                "'%s' holds landmarks without the peaks of their heatmaps (archives since format 6 "
                "do): the flow knows less than in a run, which its calibration was made for",
                path.name,
            )
        meta = {"source": path.name, "landmark_network": stored.network, **stored.about_cameras}
        return (Found(*one) for one in stored.frames()), meta
    run = RunConfig(
        video=config.source,
        focal=config.focal,
        calib=config.calib,
        landmarks=config.landmarks or "auto",
        max_people=config.max_people,
        every_frame=True,
    )
    return _in_video(run)


def _in_video(run: RunConfig) -> tuple[Iterator[Found], dict[str, object]]:
    source = open_source(run)
    if source.live:
        source.close()
        raise PenumbraError(f"source: '{source.name}' is live and has no end; record it first.")
    assumed, _ = open_camera_model(run, source)
    cameras = RunRecord(run, source, assumed).cameras
    network = choose(run, every_frame=True)
    tracker = open_people_tracker(network=network, max_people=run.max_people)

    def each() -> Iterator[Found]:
        shot = 0
        with frames(source, True, threading.Event()) as stream:
            for frame in stream:
                if frame.info.shot != shot:
                    shot = frame.info.shot
                    tracker.reset()
                found = tuple((one.track_id, one.landmarks) for one in tracker(frame.image))
                yield Found(frame.info, found, frame.intrinsics or assumed)

    return each(), {"source": source.name, "landmark_network": network, **cameras}


def person(estimate: ViewEstimate, track_id: int, intrinsics: Intrinsics) -> Person:
    """Return an estimate as a person of an archive."""
    pelvis = estimate.joints[0]
    return Person(
        landmarks=estimate.landmarks,
        hypotheses=estimate.hypotheses,
        best=body_of(estimate.hypotheses),
        joint_cov=estimate.cov,
        ray_std=estimate.distance_std,
        # The fit takes the focal length as given.
        axis_std=axis_std_by_focal(intrinsics.focal_error, float(pelvis[2])),
        ray=pelvis / np.linalg.norm(pelvis),
        joint_visible=estimate.joint_visible,
        track_id=track_id,
    )


def _batches(found: Iterable[Found], size: int | None) -> Iterator[list[Found]]:
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch


def _open_fit(
    config: FitBodiesConfig, body: BodyModel, model: FlowModel | None
) -> tuple[Callable[[list[Seen]], list[ViewEstimate]], CovarianceCalibration | None]:
    """Open the objective, and say how it is calibrated."""
    if config.objective == "humor":
        flow = model or FlowModel.load()
        fit_motion = MotionFitter(body, flow, config.hypotheses, config.calibrate)
        return lambda seen: _by_motion(fit_motion, seen), fit_motion.calibration
    fit = open_objective(
        *(config.objective, config.prior, body, model, config.hypotheses),
        *(config.starts, config.calibrate),
    )
    return (
        lambda seen: fit([(landmarks, one.intrinsics) for one, _, landmarks in seen]),
        fit.calibration,
    )


def _by_motion(fit: MotionFitter, seen: list[Seen]) -> list[ViewEstimate]:
    """Fit the successive frames of each person together.

    Raises:
        PenumbraError: nobody is in enough of them.
    """
    estimates: dict[int, ViewEstimate] = {}
    runs = runs_of(seen)
    alone = sum(len(run) for run in runs if len(run) < FEWEST_FRAMES)
    if alone == len(seen):
        raise PenumbraError(
            f"source: nobody is in {FEWEST_FRAMES} successive frames, which a motion needs; give a "
            "video, or an archive with every frame."
        )
    if alone:
        log.warning("%d of %d bodies have no motion; they are fitted alone", alone, len(seen))
    for run in tqdm(runs, desc="motions", unit="motion"):
        moments = [
            (one.frame.media_time_s, landmarks, one.intrinsics, one.world)
            for one, _, landmarks in (seen[i] for i in run)
        ]
        estimates |= dict(zip(run, fit(moments), strict=True))
    return [estimates[i] for i in range(len(seen))]


def runs_of(seen: list[Seen]) -> list[list[int]]:
    """Group people in frames: one person, frame after frame without a gap or another shot."""
    runs: list[list[int]] = []
    last: dict[int, tuple[FrameInfo, list[int]]] = {}
    for i, (one, track, _) in enumerate(seen):
        before, run = last.get(track, (None, []))
        if (
            before is None
            or one.frame.frame_id != before.frame_id + 1
            or one.frame.shot != before.shot
        ):
            run = []
            runs.append(run)
        run.append(i)
        last[track] = one.frame, run
    return runs


def main(config: FitBodiesConfig) -> None:
    """Write the archive.

    Raises:
        PenumbraError: the source cannot be read, an option is wrong, nobody is found, or the result
            cannot be written.
    """
    check_at_least(1, config, "hypotheses", "max_frames", "max_people")
    check_distinct({"out": config.out}, {"the source": config.source})
    body = BodyModel.load(config.body)
    check_objective(config.objective, config.prior, config.starts)
    model = FlowModel.load(config.model) if _uses_flow(config) else None
    fit, calibration = _open_fit(config, body, model)
    found, meta = find(config)
    meta |= {
        "objective": config.objective,
        "prior": config.prior or DEFAULT_PRIOR.get(config.objective, config.objective),
        "starts": "flow" if _uses_flow(config) else "mean",
        "calibrated": calibration is not None,
        "calibration": None if calibration is None else calibration.to_json(),
        "body": body.name,
        "smoothed": config.objective == "humor",
    }
    people = 0
    with Archive(config.out, config.hypotheses, meta, force=config.force) as archive:
        with tqdm(desc=config.objective, unit="frame") as bar:
            size = None if config.objective == "humor" else TOGETHER
            for batch in _batches(islice(found, config.max_frames), size):
                seen = [(one, *someone) for one in batch for someone in one.people]
                estimates = fit(seen) if seen else []
                fitted = [
                    (one, person(estimate, track_id, one.intrinsics))
                    for (one, track_id, _), estimate in zip(seen, estimates, strict=True)
                ]
                for one in batch:
                    mine = tuple(someone for frame, someone in fitted if frame is one)
                    archive.append(Estimate(one.frame, mine, one.world))
                people += len(seen)
                bar.update(len(batch))
        if people == 0:
            archive.discard()
    if people == 0:
        raise PenumbraError(f"source: nobody was found in '{config.source}'; take another.")
    print(f"{archive.path}: {people} bodies in {archive.count} frames")


if __name__ == "__main__":
    start(main, FitBodiesConfig)
