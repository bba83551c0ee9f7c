"""Dataset pictures as pairs: fits against exact projections, and a rendered picture that goes all
the way round.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.blazepose.landmarker import Landmarker
from engines.blazepose.roi import image_to_crop
from engines.body import BodyModel, joints_only
from engines.camera import Intrinsics, from_fov
from engines.errors import PenumbraError
from engines.flow.features import LIMBS
from engines.types import JOINT_NAMES, LIMB_JOINTS, Landmarks, Roi
from trainer.data import samples as data
from trainer.data.augment import JOINT_OF_LANDMARK, mirror
from trainer.data.rendered import SampleRenderer
from trainer.datasets.open import open_dataset
from trainer.datasets.people import People, no_smpl
from trainer.datasets.pictures import Looked, look
from trainer.datasets.placing import centred, fit_box, fit_translation
from trainer.datasets.skeletons import BODY_25, SPIN_24
from trainer.render.clothed_body import render_body
from trainer.render.surroundings import random_background

SIZE = 512
WIDE = Intrinsics(900.0, 950.0, 600.0, 400.0, (1280, 720))


def standing(turn_deg: float = 20.0) -> np.ndarray:
    """(24, 3): upright, arms a little off the body, towards the camera."""
    rotvec = np.zeros((24, 3))
    rotvec[16], rotvec[17] = (0, 0, -1.1), (0, 0, 1.1)
    facing = Rotation.from_euler("x", 180, degrees=True) * Rotation.from_euler(
        "y", turn_deg, degrees=True
    )
    rotvec[0] = facing.as_rotvec()
    return rotvec


def rooted_joints(
    body: BodyModel, rotvec: np.ndarray, betas: np.ndarray | None = None
) -> np.ndarray:
    joints = joints_only(
        body, rotvec, np.zeros(10) if betas is None else betas, np.zeros(3)
    ).astype(float)
    return joints - joints[0]


class Mirage:
    """In place of the landmark network: says what it is told, and remembers where it looked."""

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


def blank(path: Path, size: tuple[int, int]) -> Path:
    assert cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
    return path


def people_of(image: Path, count: int = 1, **known: object) -> People:
    rotvec, betas, has_smpl = no_smpl(count)
    given = {"rotvec": rotvec, "betas": betas, "has_smpl": has_smpl}
    given |= {"center": np.tile([640.0, 360.0], (count, 1)), "side": np.full(count, 400.0)} | known
    return People(source=Path("some"), images=(image,) * count, **given)  # pyright: ignore[reportArgumentType]


def seen(
    people: People, points: np.ndarray, scores: list[float], **options: object
) -> tuple[Looked, Mirage]:
    mirage = Mirage(points, scores)
    return look(people, mirage, **options), mirage  # pyright: ignore[reportArgumentType]


def test_the_pelvis_is_found_from_exact_keypoints(body: BodyModel) -> None:
    joints = rooted_joints(body, standing())
    for pelvis in ([0.3, -0.2, 4.0], [-1.0, 0.4, 2.5]):
        px = WIDE.project(joints + pelvis)
        np.testing.assert_allclose(fit_translation(joints, px, WIDE), pelvis, atol=1e-9)


def test_a_fit_to_the_box_fills_it(body: BodyModel) -> None:
    joints = rooted_joints(body, standing())
    center, side = np.array([300.0, 500.0]), 240.0
    px = WIDE.project(joints + fit_box(joints, center, side, WIDE))
    np.testing.assert_allclose((px.min(0) + px.max(0)) / 2, center, atol=0.01)
    assert np.ptp(px, axis=0).max() == pytest.approx(side / 1.2, rel=1e-4)


def test_a_centred_camera_keeps_every_ray() -> None:
    points = np.random.default_rng(0).uniform(0, 700, (20, 2))
    focal, move = centred(WIDE)
    moved = points @ move[:, :2].T + move[:, 2]
    np.testing.assert_allclose(
        (moved - np.array(WIDE.size) / 2) / focal, WIDE.rays(points), atol=1e-12
    )


@pytest.fixture
def shaken(body: BodyModel, tmp_path: Path) -> tuple[People, np.ndarray]:
    """One labelled person whose camera has an odd principal point, and where its landmarks truly
    are (33, 2).
    """
    joints = rooted_joints(body, standing()) + np.array([0.1, -0.1, 4.0])
    px = WIDE.project(joints)
    points = np.zeros((1, 25, 3))
    for i, name in enumerate(BODY_25):
        if name in JOINT_NAMES:
            points[0, i] = (*px[JOINT_NAMES.index(name)], 0.9)
    people = people_of(
        blank(tmp_path / "a.png", WIDE.size),
        rotvec=standing()[None],
        betas=np.ones((1, 10)),
        has_smpl=np.ones(1, bool),
        K=WIDE.matrix[None],
        keypoints_2d=points,
        keypoint_names=BODY_25,
    )
    return people, px[list(JOINT_OF_LANDMARK)]


def test_pairs_use_the_true_camera_although_they_store_a_centred_one(
    body: BodyModel, shaken: tuple[People, np.ndarray]
) -> None:
    """Landmarks that lie on the true joints must do so in the pair: through the camera, the fit and
    the view.
    """
    looked, mirage = seen(*shaken, [0.9, 0.95])
    pairs = data.encode(looked.raw, body)
    marks = pairs.features[:, :66].unflatten(1, (33, 2))[:, list(LIMBS)].numpy()
    joints = [JOINT_OF_LANDMARK[landmark] for landmark in LIMBS]
    np.testing.assert_allclose(pairs.target[:, joints].numpy(), marks, atol=2e-4)
    # From a point on the person through the view into the crop, and there directly from the
    # picture.
    view = pairs.joints[0].double().numpy()
    crop = view @ pairs.crop_from_view[0].double().numpy().T
    px = WIDE.project(rooted_joints(body, standing()) + looked.raw["pelvis"][0])
    direct = (
        px @ image_to_crop(mirage.regions[1], 256)[:, :2].T
        + image_to_crop(mirage.regions[1], 256)[:, 2]
    )
    np.testing.assert_allclose(crop[:, :2] / crop[:, 2:], direct, atol=0.05)


def test_what_is_recorded_has_the_form_of_rendered_ones(
    shaken: tuple[People, np.ndarray], body: BodyModel
) -> None:
    looked, mirage = seen(*shaken, [0.9, 0.9])
    record = looked.raw
    np.testing.assert_allclose(
        record["depth"][0] / record["focal"][0], mirage.depth / WIDE.fx, rtol=1e-5
    )
    np.testing.assert_allclose(record["pelvis"], [[0.1, -0.1, 4.0]], atol=1e-5)
    assert looked.placed == ("keypoints",) and looked.rows.tolist() == [0]
    np.testing.assert_allclose(record["rotvec"][0], standing(), atol=1e-6)
    assert not record["betas"].any()  # the dataset's mean nothing to the default body
    focal, move = centred(WIDE)
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
    body: BodyModel, shaken: tuple[People, np.ndarray]
) -> None:
    looked, _ = seen(*shaken, [0.9, 0.9], body=body)
    assert (looked.raw["betas"] == 1).all()
    people, _ = shaken
    joints, limbs = rooted_joints(body, standing(), np.ones(10)), list(LIMB_JOINTS)
    expected = fit_translation(joints[limbs], people.keypoints_as_smpl()[0, limbs, :2], WIDE)
    np.testing.assert_allclose(looked.raw["pelvis"][0], expected, atol=1e-5)
    assert not np.allclose(expected, [0.1, -0.1, 4.0], atol=1e-3)


def test_visible_is_what_a_confident_keypoint_inside_the_picture_shows(
    shaken: tuple[People, np.ndarray],
) -> None:
    people, marks = shaken
    assert people.keypoints_2d is not None
    points = people.keypoints_2d
    everything = seen(people, marks, [0.9, 0.9])[0].raw["joint_visible"][0]
    limbs_only = [name for name, see in zip(JOINT_NAMES, everything, strict=True) if not see]
    assert limbs_only == ["head"]  # no keypoint of the face is given
    points[0, BODY_25.index("left_elbow"), 2] = 0.6
    points[0, BODY_25.index("right_ankle"), 1] = 721
    points[0, BODY_25.index("left_wrist"), 2] = 0.0
    points[0, BODY_25.index("nose")] = (5, 5, 0.7)
    visible = seen(people, marks, [0.9, 0.9])[0].raw["joint_visible"][0]
    hidden = {name for name, see in zip(JOINT_NAMES, visible, strict=True) if not see}
    assert hidden == {"left_elbow", "right_ankle", "right_foot", "left_wrist", "left_hand"}


def test_without_keypoints_the_box_places_and_the_picture_bounds(
    body: BodyModel, tmp_path: Path
) -> None:
    known = {"rotvec": standing()[None], "betas": np.zeros((1, 10)), "has_smpl": np.ones(1, bool)}
    people = people_of(
        blank(tmp_path / "a.png", (1280, 720)), **known, center=np.array([[640.0, 700.0]])
    )
    looked, _ = seen(people, np.full((33, 2), 300.0), [0.9, 0.9])
    camera = from_fov((1280, 720))
    assert looked.placed == ("box",) and looked.raw["focal"][0] == pytest.approx(camera.fx)
    joints = rooted_joints(body, standing())
    expected = fit_box(joints, people.center[0], 400.0, camera)
    np.testing.assert_allclose(looked.raw["pelvis"][0], expected, rtol=1e-5)
    inside = camera.project(joints + expected)[:, 1] < 720
    np.testing.assert_array_equal(looked.raw["joint_visible"][0], inside)
    assert 4 < inside.sum() < 20


def test_the_datasets_own_place_comes_first(
    body: BodyModel, shaken: tuple[People, np.ndarray]
) -> None:
    people, marks = shaken
    joints = rooted_joints(body, standing())[None] + np.array([0.0, 0.0, 5.0])
    fields = {name: getattr(people, name) for name in people.__dataclass_fields__}
    given = People(**fields | {"joints_cam": joints, "joint_names": JOINT_NAMES, "placed": True})
    looked, _ = seen(given, marks, [0.9, 0.9])
    assert looked.placed == ("given",) and looked.raw["pelvis"].tolist() == [[0, 0, 5]]
    assert np.isnan(looked.joints_cam).all()  # on the default body the labels count


def test_with_the_users_body_joints_are_the_datasets_own_where_it_has_all(
    body: BodyModel, shaken: tuple[People, np.ndarray]
) -> None:
    people, marks = shaken
    joints = rooted_joints(body, standing())[None] * 1.1 + np.array(
        [0.0, 0.0, 5.0]
    )  # as of another gender's model
    fields = {name: getattr(people, name) for name in people.__dataclass_fields__}
    more = {"joints_cam": joints, "joint_names": JOINT_NAMES, "placed": True, "gender": ("male",)}
    looked, _ = seen(People(**fields | more), marks, [0.9, 0.9], body=body)
    np.testing.assert_allclose(looked.joints_cam, joints, atol=1e-6)
    assert looked.summary().endswith(
        "joints of 1 are the dataset's own; shapes of 1 belong to a male or female SMPL"
    )
    pairs = data.encode(looked.raw, body, joints_cam=looked.joints_cam)
    lengths = np.linalg.norm(np.diff(joints[0], axis=0), axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(pairs.joints[0].numpy(), axis=0), axis=-1), lengths, atol=1e-5
    )
    joints[0, 3] = np.nan
    looked, _ = seen(People(**fields | more), marks, [0.9, 0.9], body=body)
    assert np.isnan(looked.joints_cam).all()
    pairs = data.encode(looked.raw, body, joints_cam=looked.joints_cam)
    posed = rooted_joints(body, standing(), np.ones(10))
    lengths = np.linalg.norm(np.diff(posed, axis=0), axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(pairs.joints[0].numpy(), axis=0), axis=-1), lengths, atol=1e-5
    )


def test_people_without_labels_are_counted(body: BodyModel, tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(200, 500, (33, 2))
    joints = np.full((2, 24, 3), np.nan)
    truth = rooted_joints(body, standing())
    for i, name in enumerate(SPIN_24):
        if name in JOINT_NAMES:
            joints[:, i] = truth[JOINT_NAMES.index(name)]
    rotvec, betas, _ = no_smpl(2)
    rotvec[1], betas[1] = standing(), 0.0
    labels = {"rotvec": rotvec, "betas": betas, "has_smpl": np.array([False, True])}
    own = {"joints_cam": joints, "joint_names": SPIN_24}
    people = people_of(blank(tmp_path / "a.png", (1280, 720)), 2, **labels, **own)
    looked, _ = seen(people, points, [0.9] * 2)
    assert looked.rows.tolist() == [1] and looked.unlabelled == 1 and looked.unseen == 0
    assert looked.summary().startswith("1 people; 1 without SMPL labels and 0 in whom")
    nobody = people_of(tmp_path / "a.png")
    with pytest.raises(PenumbraError, match="None of the 1 people of some has SMPL labels"):
        seen(nobody, points, [])


def test_the_second_look_counts_unless_it_lost_the_person(
    shaken: tuple[People, np.ndarray],
) -> None:
    for scores, used in (([0.9, 0.95], 1), ([0.9, 0.86], 1), ([0.9, 0.6], 0)):
        looked, mirage = seen(*shaken, scores)
        first, second = mirage.regions
        assert first.center.tolist() == [640, 360] and first.size == 500 and first.rotation == 0
        assert second.size == pytest.approx(550)
        assert looked.raw["score"][0] == pytest.approx(scores[used])
    with pytest.raises(PenumbraError, match="sees nobody in the pictures of some"):
        seen(*shaken, [0.4])


def test_pictures_that_cannot_be_read_are_named(
    tmp_path: Path, shaken: tuple[People, np.ndarray]
) -> None:
    people, marks = shaken
    path = people.images[0]
    path.write_bytes(b"no picture")
    with pytest.raises(PenumbraError, match=r"a\.png cannot be read"):
        seen(people, marks, [])
    path.unlink()
    with pytest.raises(PenumbraError, match=r"no picture .*a\.png; check --root"):
        seen(people, marks, [])


@pytest.fixture(scope="module")
def renderer(body: BodyModel) -> SampleRenderer:
    return SampleRenderer.open(body)


def test_a_rendered_image_goes_through_the_file_and_the_real_network(
    renderer: SampleRenderer, body: BodyModel, tmp_path: Path
) -> None:
    """A JPEG and a file in ProHMR's form go in; landmarks near the true joints, and the true
    pelvis, come out.
    """
    camera, rng = from_fov((SIZE, SIZE)), np.random.default_rng(5)
    turns, pelvis = (0.0, 30.0), np.array([0.15, 0.0, 2.6])
    keypoints = np.zeros((2, 25, 3))
    poses = np.stack([standing(turn) for turn in turns])
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
    looked = look(people, renderer.landmarker)
    assert looked.placed == ("keypoints",) * 2 and looked.unseen == 0
    np.testing.assert_allclose(looked.raw["pelvis"], np.tile(pelvis, (2, 1)), atol=1e-3)
    pairs = data.encode(looked.raw, body)
    marks = pairs.features[:, :66].unflatten(1, (33, 2))[:, list(LIMBS)]
    joints = [JOINT_OF_LANDMARK[landmark] for landmark in LIMBS]
    miss = (marks - pairs.target[:, joints]).norm(dim=-1) / 2
    assert miss.median() < 0.05  # of the person's size
    assert (
        pairs.rotvec[:, 0].norm(dim=-1).max() < 0.6
    )  # the torso's world landmarks give the orientation
    assert pairs.visible[:, list(LIMB_JOINTS)].all()
