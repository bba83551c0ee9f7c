"""Geometry of crops, decoding of detector and landmarker, tracking; then all against mediapipe."""

import inspect
import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest

from engines.blazepose.detector import Detector, anchor_centers
from engines.blazepose.landmarker import Landmarker, open_landmarker, refine
from engines.blazepose.roi import (
    MARGIN,
    apply_affine,
    crop_to_image,
    cut,
    roi_from_points,
    steady,
)
from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.types import Landmarks, Roi
from tests.support.paths import SHARED

VIDEO = SHARED / "data" / "video" / "bodypose3d_walk_sit_stand.mp4"
BACKEND = "onnxruntime"


def frames(step: int, count: int) -> list[np.ndarray]:
    """Every `step`-th frame of a video of a man who walks in, sits down and stands up."""
    if not VIDEO.is_file():
        pytest.skip(f"no video {VIDEO}")
    video, taken = cv2.VideoCapture(str(VIDEO)), []
    while len(taken) < count:
        good, frame = video.read()
        if not good:
            break
        taken.append(frame)
        for _ in range(step - 1):
            video.grab()
    return taken


# Geometry


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, -2.5])
def test_roi_turns_the_rim_upwards(angle: float) -> None:
    center, radius = np.array([310.0, 240.0]), 120.0
    rim = center + radius * np.array([math.sin(angle), -math.cos(angle)])
    roi = roi_from_points(center, rim)
    assert roi.size == pytest.approx(2 * MARGIN * radius)
    assert roi.rotation == pytest.approx(angle)
    mapped = apply_affine(
        crop_to_image(roi, 256), np.array([[128.0, 128.0], [128.0, 128.0 - 128.0 / MARGIN]])
    )
    np.testing.assert_allclose(mapped, [center, rim], atol=1e-9)


@pytest.mark.parametrize("rotation", [0.0, 0.3, 1.9, -2.7])
@pytest.mark.parametrize("size", [150.0, 256.0, 333.0])
def test_a_spot_is_cut_out_and_mapped_back(rotation: float, size: float) -> None:
    """The centre of a soft spot, found in the crop and mapped back, is exact to 0.05 px."""
    spot, spread = np.array([203.3, 171.8]), 6.0
    x, y = np.meshgrid(
        np.arange(400) + 0.5, np.arange(360) + 0.5
    )  # centres of the pixels, image px
    bright = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * spread**2))
    image = np.repeat(np.rint(bright).astype(np.uint8)[..., None], 3, axis=2)
    to_image = crop_to_image(Roi(np.array([190.0, 180.0]), size, rotation), 256)
    crop = np.empty((256, 256, 3), np.uint8)
    cut(image, to_image, crop)
    mass = crop[..., 0].astype(np.float64)
    ticks = np.arange(256) + 0.5
    found = np.array([(mass.sum(0) * ticks).sum(), (mass.sum(1) * ticks).sum()]) / mass.sum()
    np.testing.assert_allclose(apply_affine(to_image, found[None])[0], spot, atol=0.05)


@pytest.mark.parametrize(("dtype", "shape"), [("u1", (9, 9)), ("u1", (9, 9, 4)), ("f4", (9, 9, 3))])
def test_a_crop_of_other_images_is_refused(dtype: str, shape: tuple[int, ...]) -> None:
    """OpenCV would leave the crop of the image before in its place."""
    without_shape_checks = inspect.unwrap(cut)
    crop = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(AssertionError, match=r"wanted uint8 \(h, w, 3\)"):
        without_shape_checks(np.ones(shape, dtype), np.eye(2, 3), crop)


def test_steady_damps_small_movements_more_and_ends_at_the_target() -> None:
    start, turn = Roi(np.array([100.0, 100.0]), 200.0, math.pi - 0.01), 0.02

    def part(shift: float) -> float:
        target = replace(start, center=start.center + np.array([shift, 0.0]))
        return float(steady(start, target).center[0] - 100.0) / shift

    assert 0.0 < part(1.0) < part(10.0) < part(100.0) < 1.0
    target = Roi(
        np.array([130.0, 90.0]), 220.0, start.rotation + turn - 2 * math.pi
    )  # across the cut at pi
    roi = start
    for _ in range(2000):
        roi = steady(roi, target)
        assert abs(math.remainder(roi.rotation - start.rotation, 2 * math.pi)) <= turn + 1e-9
    np.testing.assert_allclose(roi.center, target.center, atol=0.1)
    assert roi.size == pytest.approx(220.0, abs=0.1)


# Decoding


@dataclass
class StillEngine:
    """An engine whose outputs are what the test puts there."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    backend: str = "still"
    device: str = "cpu"
    runs: int = field(default=0)

    def run(self) -> None:
        self.runs += 1


def silent_detector() -> tuple[Detector, StillEngine]:
    engine = StillEngine(
        {"image": np.zeros((1, 224, 224, 3), np.uint8)},
        {
            "boxes": np.zeros((1, 2254, 12), np.float32),
            "scores": np.full((1, 2254, 1), -50, np.float32),
        },
    )
    return Detector(engine), engine


def say(engine: StillEngine, anchor: int, score: float, points: np.ndarray) -> None:
    """Let an anchor report a person with four points (crop px) and a face of 30 px at point 2."""
    center = anchor_centers()[anchor]
    engine.outputs["scores"][0, anchor] = math.log(score / (1 - score))
    engine.outputs["boxes"][0, anchor, :2] = points[2] - center
    engine.outputs["boxes"][0, anchor, 2:4] = 30.0
    engine.outputs["boxes"][0, anchor, 4:] = (points - center).reshape(-1)


def test_detector_undoes_the_letterbox() -> None:
    detector, engine = silent_detector()
    points = np.array([[112.0, 130.0], [112.0, 74.0], [112.0, 90.0], [112.0, 60.0]])
    say(engine, 700, 0.9, points)
    roi = detector(
        np.zeros((240, 448, 3), np.uint8)
    )  # half size; 104 px of border above and below the image
    assert roi is not None
    np.testing.assert_allclose(roi.center, [224.0, 260.0 - 104.0], atol=1e-4)
    assert roi.size == pytest.approx(2 * MARGIN * 112.0, rel=1e-5)
    assert roi.rotation == pytest.approx(0.0, abs=1e-6)


def test_detector_averages_one_person_and_ignores_the_other() -> None:
    detector, engine = silent_detector()
    points = np.array([[60.0, 100.0], [60.0, 60.0], [60.0, 70.0], [60.0, 50.0]])
    say(engine, 100, 0.9, points)
    say(engine, 1600, 0.6, points + np.array([5.0, 0.0]))
    say(engine, 2000, 0.8, points + np.array([120.0, 0.0]))
    roi = detector(np.zeros((224, 224, 3), np.uint8))
    assert roi is not None
    np.testing.assert_allclose(roi.center, [60.0 + 5.0 * 0.6 / 1.5, 100.0], atol=1e-4)


def test_detections_below_the_threshold_are_dropped() -> None:
    detector, engine = silent_detector()
    say(engine, 100, 0.49, np.full((4, 2), 100.0))
    assert detector(np.zeros((224, 224, 3), np.uint8)) is None


def heat(peak: tuple[float, float], logit: float) -> np.ndarray:
    """A heatmap (64, 64, 1) with a soft spot around a cell (x, y)."""
    y, x = np.mgrid[:64, :64]
    fall = ((x - peak[0]) ** 2 + (y - peak[1]) ** 2) / 2.0
    return (logit - 12.0 * (1 - np.exp(-fall)))[..., None]


def test_refine_moves_to_the_spot() -> None:
    refined = refine(np.array([[85.0, 119.0]]), heat((22.0, 30.0), 4.0))
    np.testing.assert_allclose(refined.points, [[88.0, 120.0]], atol=0.05)
    np.testing.assert_allclose(refined.peak, 1 / (1 + np.exp(-4.0)))


@pytest.mark.parametrize(
    "point, logit",
    [((85.0, 119.0), -0.1), ((-8.0, 119.0), 4.0), ((85.0, 260.0), 4.0), ((140.0, 119.0), 4.0)],
)
def test_refine_leaves_what_is_faint_outside_or_far(
    point: tuple[float, float], logit: float
) -> None:
    refined = refine(np.array([point]), heat((22.0, 30.0), logit))
    np.testing.assert_array_equal(refined.points, [point])
    assert refined.peak < 0.5


def test_refine_reads_a_window_that_the_border_cuts() -> None:
    refined = refine(np.array([[1.0, 255.0]]), heat((0.0, 63.0), 4.0))
    assert (refined.points >= 0).all() and (refined.points < 256).all()
    assert np.abs(refined.points - [[0.0, 252.0]]).max() < 4.0


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return open_landmarker(BACKEND)


def test_landmarks_turn_with_the_image(landmarker: Landmarker) -> None:
    """A quarter turn of image and region gives the same crop, so the landmarks turn along."""
    image = frames(1, 61)[60]
    height = image.shape[0]
    roi = Roi(np.array([400.0, 380.0]), 640.0, 0.1)
    x, y = roi.center
    turned = Roi(np.array([height - y, x]), roi.size, roi.rotation + math.pi / 2)
    upright, _ = landmarker(image, roi)
    lying, _ = landmarker(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), turned)
    assert upright.score > 0.9
    back = np.stack([lying.points[:, 1], height - lying.points[:, 0]], axis=-1)
    np.testing.assert_allclose(back, upright.points, atol=1.0)  # OpenCV rounds to 1/32 px
    np.testing.assert_allclose(lying.depth, upright.depth, atol=4.0)
    world = np.stack([lying.world[:, 1], -lying.world[:, 0], lying.world[:, 2]], axis=-1)
    np.testing.assert_allclose(world, upright.world, atol=0.02)


@pytest.mark.parametrize("backend", ["openvino", BACKEND])
def test_several_regions_at_a_time_have_the_landmarks_of_one_after_another(backend: str) -> None:
    image = frames(1, 61)[60]
    together = open_landmarker(backend, max_people=3)
    rois = [Roi(np.array([380.0 + 15 * i, 380.0]), 640.0, 0.1 * i) for i in range(4)]
    for (found, next_roi), roi in zip(together.each(image, rois), rois, strict=True):
        alone, alone_roi = together(image, roi)
        np.testing.assert_allclose(found.points, alone.points, atol=1e-3)
        np.testing.assert_allclose(found.world, alone.world, atol=1e-5)
        np.testing.assert_allclose(next_roi.center, alone_roi.center, atol=1e-3)
        assert found.roi is roi and found.score == pytest.approx(alone.score, abs=1e-5)
    assert together.each(image, []) == []


# Tracking


class Scripted:
    """A stand-in for both networks whose results the test sets, and which records the calls."""

    def __init__(self) -> None:
        self.present, self.scores, self.asked = True, [], []
        self.detected, self.tracked = Roi(np.zeros(2), 10.0, 0.0), Roi(np.ones(2), 10.0, 0.0)
        self.torso, self.in_image = 0.2, 1.0

    def detect(self, image: np.ndarray) -> Roi | None:
        self.asked.append("detector")
        return self.detected if self.present else None

    def landmark(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
        self.asked.append("detected" if roi is self.detected else "tracked")
        one, points = np.zeros(33), np.zeros((33, 2))
        points[[11, 12], 1] = -self.torso * roi.size
        presence = np.full(33, self.in_image)
        return Landmarks(
            points, one, one, presence, np.zeros((33, 3)), self.scores.pop(0), roi
        ), self.tracked

    def play(self, *scores: float) -> tuple[PoseTracker, list[bool]]:
        self.scores = list(scores)
        tracker = PoseTracker(self.detect, self.landmark)
        return tracker, [tracker(np.zeros((8, 8, 3), np.uint8)) is not None for _ in range(3)]


def test_the_detector_runs_only_while_no_person_is_tracked() -> None:
    scene = Scripted()
    _, found = scene.play(0.9, 0.9, 0.9)
    assert found == [True, True, True]
    assert scene.asked == ["detector", "detected", "tracked", "tracked"]


def test_a_lost_person_is_detected_in_the_same_frame() -> None:
    scene = Scripted()
    _, found = scene.play(0.9, 0.2, 0.8, 0.9)
    assert found == [True, True, True]
    assert scene.asked == ["detector", "detected", "tracked", "detector", "detected", "tracked"]


def test_a_person_of_low_score_is_dropped() -> None:
    scene = Scripted()
    _, found = scene.play(0.3, 0.3, 0.3)
    assert found == [False, False, False]
    assert scene.asked == ["detector", "detected"] * 3


def test_an_empty_scene_and_a_reset() -> None:
    scene = Scripted()
    scene.present = False
    assert scene.play()[1] == [False, False, False]
    scene = Scripted()
    tracker, _ = scene.play(0.9, 0.9, 0.9, 0.9)
    tracker.reset()
    tracker(np.zeros((8, 8, 3), np.uint8))
    assert scene.asked[-2:] == ["detector", "detected"]


def test_who_is_found_elsewhere_or_after_an_empty_frame_is_another_person() -> None:
    scene, numbers = Scripted(), []
    image = np.zeros((8, 8, 3), np.uint8)
    tracker = PoseTracker(scene.detect, scene.landmark)
    for scores, place, size in (
        ([0.9], 0.0, 10.0),  # found
        ([0.9], 0.0, 10.0),  # tracked
        ([0.2, 0.8], 1.5, 12.0),  # lost, and found again there
        ([0.2, 0.8], 9.0, 10.0),  # lost, and found elsewhere
        ([0.2, 0.8], 1.0, 3.0),  # found in the right place, but much smaller
        ([0.2, 0.2], 1.0, 10.0),  # no person
        ([0.9], 1.0, 10.0),
    ):
        scene.scores, scene.detected = scores, Roi(np.full(2, place), size, 0.0)
        numbers.append(tracker.track_id if tracker(image) else None)
    assert numbers == [1, 1, 1, 2, 3, None, 4]


def test_without_a_torso_only_the_surest_are_believed() -> None:
    scene = Scripted()
    scene.torso = 0.04
    assert scene.play(0.9, 0.985, 0.995)[1] == [False, False, True]
    scene.torso = 0.07
    assert scene.play(0.9, 0.9, 0.9)[1] == [True, True, True]


def test_nobody_is_in_an_image_that_shows_next_to_nothing_of_them() -> None:
    scene = Scripted()
    for in_image, found in ((0.2, False), (0.35, True)):  # an edge that somebody left; a head
        scene.in_image = in_image
        assert scene.play(*[0.99] * 6)[1] == [found] * 3


# Beside mediapipe


def test_agrees_with_mediapipes_own_pose(record_property) -> None:
    """Visible landmarks differ by less than 2 % of the man's height where both detect him."""
    images = frames(4, 40)
    pose = pytest.importorskip("mediapipe").solutions.pose.Pose(
        model_complexity=1, smooth_landmarks=False
    )
    tracker, differences, found = open_tracker(BACKEND), [], []
    for image in images:
        ours = tracker(image)
        theirs = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).pose_landmarks
        found.append((ours is not None, theirs is not None))
        if ours is None or theirs is None:
            continue
        height, width = image.shape[:2]
        points = np.array([[point.x * width, point.y * height] for point in theirs.landmark])
        visible = np.array([point.visibility > 0.5 for point in theirs.landmark])
        box_height = np.ptp(points[visible, 1])
        differences.append(np.linalg.norm(ours.points - points, axis=-1)[visible] / box_height)
    our_rate, their_rate = np.mean(found, axis=0)
    median = float(np.median(np.concatenate(differences)))
    record_property("median_difference_of_box_height", median)
    assert our_rate >= their_rate
    assert median < 0.02
