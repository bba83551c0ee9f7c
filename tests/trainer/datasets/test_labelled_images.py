"""Labelled images as samples: what is recorded of a person, and a rendered image all the way."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.blazepose.landmarker import Landmarker
from engines.blazepose.roi import image_to_crop
from engines.body import BodyModel
from engines.camera import from_fov
from engines.errors import PenumbraError
from engines.flow.features import LIMBS
from engines.types import JOINT_NAMES, LIMB_JOINTS, Landmarks, Roi
from tests.support.labelled_people import WIDE, blank_image, people_of, rooted_joints
from tests.support.scenes import standing_pose
from trainer.data.augment import JOINT_OF_LANDMARK, mirror
from trainer.data.rendered import SampleRenderer
from trainer.data.samples import encode
from trainer.datasets.ground_truth import centre_camera, fit_box, fit_translation
from trainer.datasets.labelled_images import DetectedPeople, detect_people
from trainer.datasets.open import open_dataset
from trainer.datasets.people import BODY_25, SPIN_24, People, no_smpl
from trainer.render.clothed_body import render_body
from trainer.render.surroundings import random_background

SIZE = 512


class FakeLandmarker:
    """Gives the same landmarks with the scores that it is given, and records the regions."""

    def __init__(self, points: np.ndarray, scores: list[float]) -> None:
        self.points, self.scores, self.regions = points, scores, []
        self.depth = np.random.default_rng(1).normal(0, 50, 33)

    def __call__(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
        self.regions.append(roi)
        rng = np.random.default_rng(0)
        score = self.scores[len(self.regions) - 1]
        half, world = np.full(33, 0.5), rng.normal(0, 0.3, (33, 3))
        found = Landmarks(self.points, self.depth, half, half, world, score, roi)
        return found, Roi(roi.center + 5, roi.size * 1.1, 0.2)


def detect(
    people: People, points: np.ndarray, scores: list[float], **options: object
) -> tuple[DetectedPeople, FakeLandmarker]:
    landmarker = FakeLandmarker(points, scores)
    return detect_people(people, landmarker, **options), landmarker  # pyright: ignore[reportArgumentType]


@pytest.fixture
def labelled(body: BodyModel, tmp_path: Path) -> tuple[People, np.ndarray]:
    """One labelled person whose camera has an odd principal point, and its true landmarks."""
    joints = rooted_joints(body, standing_pose(20.0)) + np.array([0.1, -0.1, 4.0])
    px = WIDE.project(joints)
    points = np.zeros((1, 25, 3))
    for i, name in enumerate(BODY_25):
        if name in JOINT_NAMES:
            points[0, i] = (*px[JOINT_NAMES.index(name)], 0.9)
    people = people_of(
        blank_image(tmp_path / "a.png", WIDE.size),
        rotvec=standing_pose(20.0)[None],
        betas=np.ones((1, 10)),
        has_smpl=np.ones(1, bool),
        K=WIDE.matrix[None],
        keypoints_2d=points,
        keypoint_names=BODY_25,
    )
    return people, px[list(JOINT_OF_LANDMARK)]


def test_samples_use_the_true_camera_although_they_store_a_centred_one(
    body: BodyModel, labelled: tuple[People, np.ndarray]
) -> None:
    """Landmarks on the true joints stay there through the camera, the fit and the view."""
    detected, landmarker = detect(*labelled, [0.9, 0.95])
    samples = encode(detected.records, body)
    marks = samples.features[:, :66].unflatten(1, (33, 2))[:, list(LIMBS)].numpy()
    joints = [JOINT_OF_LANDMARK[landmark] for landmark in LIMBS]
    np.testing.assert_allclose(samples.target[:, joints].numpy(), marks, atol=2e-4)
    # From a point on the person through the view into the crop, and there directly from the
    # image.
    view = samples.joints[0].double().numpy()
    crop = view @ samples.crop_from_view[0].double().numpy().T
    px = WIDE.project(rooted_joints(body, standing_pose(20.0)) + detected.records["pelvis"][0])
    direct = (
        px @ image_to_crop(landmarker.regions[1], 256)[:, :2].T
        + image_to_crop(landmarker.regions[1], 256)[:, 2]
    )
    np.testing.assert_allclose(crop[:, :2] / crop[:, 2:], direct, atol=0.05)


def test_what_is_recorded_has_the_form_of_rendered_ones(
    labelled: tuple[People, np.ndarray], body: BodyModel
) -> None:
    detected, landmarker = detect(*labelled, [0.9, 0.9])
    record = detected.records
    np.testing.assert_allclose(
        record["depth"][0] / record["focal"][0], landmarker.depth / WIDE.fx, rtol=1e-5
    )
    np.testing.assert_allclose(record["pelvis"], [[0.1, -0.1, 4.0]], atol=1e-5)
    assert detected.pelvis_sources == ("keypoints",) and detected.rows.tolist() == [0]
    np.testing.assert_allclose(record["rotvec"][0], standing_pose(20.0), atol=1e-6)
    assert not record["betas"].any()  # the dataset's mean nothing to the default body
    focal, move = centre_camera(WIDE)
    assert record["focal"] == pytest.approx(focal) and record["size"].tolist() == [[1280, 720]]
    np.testing.assert_allclose(
        record["window"][0], [*move[:, 2], *(move[:, :2] @ WIDE.size + move[:, 2])], rtol=1e-6
    )
    assert record["crop"].tolist() == [0] and record["joint_visible"].dtype == bool
    mirrored = mirror(record)
    for key, value in mirror(mirrored).items():
        np.testing.assert_allclose(
            value.astype(float), record[key].astype(float), rtol=1e-4, atol=1e-3, err_msg=key
        )


def test_the_users_body_takes_the_datasets_shape(
    body: BodyModel, labelled: tuple[People, np.ndarray]
) -> None:
    detected, _ = detect(*labelled, [0.9, 0.9], body=body)
    assert (detected.records["betas"] == 1).all()
    people, _ = labelled
    joints, limbs = rooted_joints(body, standing_pose(20.0), np.ones(10)), list(LIMB_JOINTS)
    expected = fit_translation(joints[limbs], people.keypoints_as_smpl()[0, limbs, :2], WIDE)
    np.testing.assert_allclose(detected.records["pelvis"][0], expected, atol=1e-5)
    assert not np.allclose(expected, [0.1, -0.1, 4.0], atol=1e-3)


def test_visible_is_what_a_confident_keypoint_inside_the_image_shows(
    labelled: tuple[People, np.ndarray],
) -> None:
    people, marks = labelled
    assert people.keypoints_2d is not None
    points = people.keypoints_2d
    everything = detect(people, marks, [0.9, 0.9])[0].records["joint_visible"][0]
    limbs_only = [name for name, shown in zip(JOINT_NAMES, everything, strict=True) if not shown]
    assert limbs_only == ["head"]  # no keypoint of the face is given
    points[0, BODY_25.index("left_elbow"), 2] = 0.6
    points[0, BODY_25.index("right_ankle"), 1] = 721
    points[0, BODY_25.index("left_wrist"), 2] = 0.0
    points[0, BODY_25.index("nose")] = (5, 5, 0.7)
    visible = detect(people, marks, [0.9, 0.9])[0].records["joint_visible"][0]
    occluded = {name for name, shown in zip(JOINT_NAMES, visible, strict=True) if not shown}
    assert occluded == {"left_elbow", "right_ankle", "right_foot", "left_wrist", "left_hand"}


def test_without_keypoints_the_box_places_and_the_image_bounds(
    body: BodyModel, tmp_path: Path
) -> None:
    known = {
        "rotvec": standing_pose(20.0)[None],
        "betas": np.zeros((1, 10)),
        "has_smpl": np.ones(1, bool),
    }
    people = people_of(
        blank_image(tmp_path / "a.png", (1280, 720)), **known, center=np.array([[640.0, 700.0]])
    )
    detected, _ = detect(people, np.full((33, 2), 300.0), [0.9, 0.9])
    camera = from_fov((1280, 720))
    assert detected.pelvis_sources == ("box",) and detected.records["focal"][0] == pytest.approx(
        camera.fx
    )
    joints = rooted_joints(body, standing_pose(20.0))
    expected = fit_box(joints, people.center[0], 400.0, camera)
    np.testing.assert_allclose(detected.records["pelvis"][0], expected, rtol=1e-5)
    inside = camera.project(joints + expected)[:, 1] < 720
    np.testing.assert_array_equal(detected.records["joint_visible"][0], inside)
    assert 4 < inside.sum() < 20


def test_the_datasets_own_place_comes_first(
    body: BodyModel, labelled: tuple[People, np.ndarray]
) -> None:
    people, marks = labelled
    joints = rooted_joints(body, standing_pose(20.0))[None] + np.array([0.0, 0.0, 5.0])
    fields = {name: getattr(people, name) for name in people.__dataclass_fields__}
    given = People(**fields | {"joints_cam": joints, "joint_names": JOINT_NAMES, "placed": True})
    detected, _ = detect(given, marks, [0.9, 0.9])
    assert detected.pelvis_sources == ("given",) and detected.records["pelvis"].tolist() == [
        [0, 0, 5]
    ]
    assert np.isnan(detected.joints_cam).all()  # on the default body the labels count


def test_with_the_users_body_joints_are_the_datasets_own_where_it_has_all(
    body: BodyModel, labelled: tuple[People, np.ndarray]
) -> None:
    people, marks = labelled
    joints = rooted_joints(body, standing_pose(20.0))[None] * 1.1 + np.array(
        [0.0, 0.0, 5.0]
    )  # as of another gender's model
    fields = {name: getattr(people, name) for name in people.__dataclass_fields__}
    more = {"joints_cam": joints, "joint_names": JOINT_NAMES, "placed": True, "gender": ("male",)}
    detected, _ = detect(People(**fields | more), marks, [0.9, 0.9], body=body)
    np.testing.assert_allclose(detected.joints_cam, joints, atol=1e-6)
    assert detected.summary().endswith(
        "joints of 1 are the dataset's own; shapes of 1 belong to a male or female SMPL"
    )
    samples = encode(detected.records, body, joints_cam=detected.joints_cam)
    lengths = np.linalg.norm(np.diff(joints[0], axis=0), axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(samples.joints[0].numpy(), axis=0), axis=-1), lengths, atol=1e-5
    )
    joints[0, 3] = np.nan
    detected, _ = detect(People(**fields | more), marks, [0.9, 0.9], body=body)
    assert np.isnan(detected.joints_cam).all()
    samples = encode(detected.records, body, joints_cam=detected.joints_cam)
    posed = rooted_joints(body, standing_pose(20.0), np.ones(10))
    lengths = np.linalg.norm(np.diff(posed, axis=0), axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(samples.joints[0].numpy(), axis=0), axis=-1), lengths, atol=1e-5
    )


def test_people_without_labels_are_counted(body: BodyModel, tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(200, 500, (33, 2))
    joints = np.full((2, 24, 3), np.nan)
    posed = rooted_joints(body, standing_pose(20.0))
    for i, name in enumerate(SPIN_24):
        if name in JOINT_NAMES:
            joints[:, i] = posed[JOINT_NAMES.index(name)]
    rotvec, betas, _ = no_smpl(2)
    rotvec[1], betas[1] = standing_pose(20.0), 0.0
    labels = {"rotvec": rotvec, "betas": betas, "has_smpl": np.array([False, True])}
    own = {"joints_cam": joints, "joint_names": SPIN_24}
    people = people_of(blank_image(tmp_path / "a.png", (1280, 720)), 2, **labels, **own)
    detected, _ = detect(people, points, [0.9] * 2)
    assert detected.rows.tolist() == [1] and detected.unlabelled == 1 and detected.undetected == 0
    assert detected.summary().startswith("1 people; 1 without SMPL labels and 0 whom")
    unlabelled = people_of(tmp_path / "a.png")
    with pytest.raises(PenumbraError, match="some: none of its 1 people has SMPL labels"):
        detect(unlabelled, points, [])


def test_the_second_detection_counts_unless_it_lost_the_person(
    labelled: tuple[People, np.ndarray],
) -> None:
    for scores, used in (([0.9, 0.95], 1), ([0.9, 0.86], 1), ([0.9, 0.6], 0)):
        detected, landmarker = detect(*labelled, scores)
        first, second = landmarker.regions
        assert first.center.tolist() == [640, 360] and first.size == 500 and first.rotation == 0
        assert second.size == pytest.approx(550)
        assert detected.records["score"][0] == pytest.approx(scores[used])
    with pytest.raises(
        PenumbraError, match="some: the landmark network finds no person in its images"
    ):
        detect(*labelled, [0.4])


def test_images_that_cannot_be_read_are_named(
    tmp_path: Path, labelled: tuple[People, np.ndarray]
) -> None:
    people, marks = labelled
    path = people.images[0]
    path.write_bytes(b"no image")
    with pytest.raises(PenumbraError, match=r"a\.png: the image cannot be read"):
        detect(people, marks, [])
    path.unlink()
    with pytest.raises(PenumbraError, match=r"a\.png: there is no such image; check `root`"):
        detect(people, marks, [])


@pytest.fixture(scope="module")
def renderer(body: BodyModel) -> SampleRenderer:
    return SampleRenderer.open(body)


def test_a_rendered_image_goes_through_the_file_and_the_real_network(
    renderer: SampleRenderer, body: BodyModel, tmp_path: Path
) -> None:
    """Landmarks near the true joints and the true pelvis come out of a JPEG and a file."""
    camera, rng = from_fov((SIZE, SIZE)), np.random.default_rng(5)
    turns, pelvis = (0.0, 30.0), np.array([0.15, 0.0, 2.6])
    keypoints = np.zeros((2, 25, 3))
    poses = np.stack([standing_pose(turn) for turn in turns])
    for i, pose in enumerate(poses):
        posed = body.shaped(np.zeros(10)).posed(pose, pelvis - body.rest_joints(np.zeros(10))[0])
        vertices = posed.vertices("decimated")
        background = random_background(SIZE, rng)
        pixels = camera.project(vertices)
        rendering = render_body(renderer.renderer.mesh, vertices, pixels, background, rng)
        assert cv2.imwrite(str(tmp_path / f"{i}.jpg"), rendering.image)
        px = camera.project(posed.joints)
        for k, name in enumerate(BODY_25):
            if name in JOINT_NAMES:
                keypoints[i, k] = (*px[JOINT_NAMES.index(name)], 0.9)
    found = np.where(keypoints[..., 2:] > 0, keypoints[..., :2], np.nan)
    low, high = np.nanmin(found, 1), np.nanmax(found, 1)
    np.savez(
        tmp_path / "rendered.npz",
        imgname=np.array(["0.jpg", "1.jpg"]),
        center=(low + high) / 2,
        scale=1.2 * (high - low).max(1),
        body_pose=poses.reshape(2, 72),
        has_body_pose=np.ones(2),
        betas=np.zeros((2, 10)),
        has_betas=np.ones(2),
        body_keypoints_2d=keypoints,
    )
    people = open_dataset("prohmr", tmp_path, "rendered")
    assert isinstance(renderer.landmarker, Landmarker)
    detected = detect_people(people, renderer.landmarker)
    assert detected.pelvis_sources == ("keypoints",) * 2 and detected.undetected == 0
    np.testing.assert_allclose(detected.records["pelvis"], np.tile(pelvis, (2, 1)), atol=1e-3)
    samples = encode(detected.records, body)
    marks = samples.features[:, :66].unflatten(1, (33, 2))[:, list(LIMBS)]
    joints = [JOINT_OF_LANDMARK[landmark] for landmark in LIMBS]
    miss = (marks - samples.target[:, joints]).norm(dim=-1) / 2
    assert miss.median() < 0.05  # of the person's size
    assert (
        samples.rotvec[:, 0].norm(dim=-1).max() < 0.6
    )  # the torso's world landmarks give the orientation
    assert samples.visible[:, list(LIMB_JOINTS)].all()
