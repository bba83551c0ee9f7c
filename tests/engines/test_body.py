"""The body against smplx, for the default body and a random one with pose blend shapes."""

from pathlib import Path

import numpy as np
import pytest

from engines.body import (
    DEFAULT_BODY,
    BodyModel,
    body_from_arrays,
    forward_kinematics,
    joints_only,
)
from engines.body_file import file_arrays
from engines.decimation import Decimation, identity_decimation
from engines.errors import PenumbraError
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES, NUM_JOINTS, PARENTS
from tests.support.synthetic_smpl import synthetic_smpl

JOINT = {name: index for index, name in enumerate(JOINT_NAMES)}


def default_arrays() -> dict[str, np.ndarray]:
    with np.load(DEFAULT_BODY, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def synthetic_arrays() -> dict[str, np.ndarray]:
    arrays = synthetic_smpl()
    decimation = identity_decimation(len(arrays["v_template"]), arrays["f"])
    return file_arrays(arrays, decimation, {"name": "synthetic"})


@pytest.fixture(scope="module", params=["default", "synthetic"])
def arrays(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return default_arrays() if request.param == "default" else synthetic_arrays()


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def random_inputs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(count, 24, 3)) * 0.6,
        rng.normal(size=(count, 10)) * 1.5,
        rng.normal(size=(count, 3)) * 2,
    )


def smplx_oracle(
    arrays: dict[str, np.ndarray], rotvec: np.ndarray, betas: np.ndarray, transl: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and the 24 joints by the smplx package, in float64."""
    smplx = pytest.importorskip("smplx")
    torch = pytest.importorskip("torch")
    plain = {
        key: value.astype(np.float64) if value.dtype.kind == "f" else value
        for key, value in arrays.items()
    }
    kintree = plain["kintree_table"].astype(np.int64)
    # smplx also picks 21 extra surface points by index; any will do.
    layer = smplx.SMPL(
        model_path="",
        data_struct=smplx.utils.Struct(**(plain | {"kintree_table": kintree})),
        batch_size=len(betas),
        dtype=torch.float64,
        vertex_ids=dict.fromkeys(smplx.vertex_ids.vertex_ids["smplh"], 0),
    )
    pose = torch.from_numpy(rotvec)
    with torch.no_grad():
        out = layer(
            betas=torch.from_numpy(betas),
            global_orient=pose[:, 0],
            body_pose=pose[:, 1:].reshape(len(pose), 69),
            transl=torch.from_numpy(transl),
        )
    return out.vertices.numpy(), out.joints[:, :NUM_JOINTS].numpy()


def test_matches_smplx(arrays: dict[str, np.ndarray]) -> None:
    model = body_from_arrays(arrays, Path("body.npz"))
    rotvec, betas, transl = random_inputs(6)
    vertices, joints = smplx_oracle(arrays, rotvec, betas, transl)
    posed = model.shaped(betas).posed(rotvec, transl)
    np.testing.assert_allclose(posed.joints, joints, atol=1e-5)
    np.testing.assert_allclose(posed.vertices("full"), vertices, atol=1e-5)
    np.testing.assert_allclose(joints_only(model, rotvec, betas, transl), joints, atol=1e-5)


def test_pose_blend_shapes_matter() -> None:
    """Without them in the synthetic body, the test above would not notice that they are missing."""
    with_them = synthetic_arrays()
    without = with_them | {"posedirs": np.zeros_like(with_them["posedirs"])}
    rotvec, betas, transl = random_inputs(1)
    bodies = [
        body_from_arrays(a, Path("b")).shaped(betas).posed(rotvec, transl)
        for a in (with_them, without)
    ]
    assert np.abs(bodies[0].vertices() - bodies[1].vertices()).max() > 0.01
    np.testing.assert_array_equal(bodies[0].joints, bodies[1].joints)


def test_joints_only_equals_posed_joints(body: BodyModel) -> None:
    rotvec, betas, transl = random_inputs(100)
    np.testing.assert_array_equal(
        joints_only(body, rotvec, betas, transl), body.shaped(betas).posed(rotvec, transl).joints
    )


def test_leading_dimensions_broadcast(body: BodyModel) -> None:
    rotvec, betas, transl = random_inputs(6, 1)
    one_shape = body.shaped(betas[0]).posed(rotvec.reshape(2, 3, 24, 3), transl[0])
    assert one_shape.vertices("decimated").shape == (2, 3, len(body.decimated.v_template), 3)
    each = [body.shaped(betas[0]).posed(r, transl[0]) for r in rotvec]
    np.testing.assert_allclose(
        one_shape.joints.reshape(6, 24, 3), [e.joints for e in each], atol=1e-6
    )
    vertices = one_shape.vertices("decimated").reshape(6, -1, 3)
    np.testing.assert_allclose(vertices, [e.vertices("decimated") for e in each], atol=1e-6)
    assert joints_only(body, rotvec[:0], betas[:0], transl[:0]).shape == (0, 24, 3)


def test_global_orient_turns_about_the_root_joint(body: BodyModel) -> None:
    rotvec, betas, transl = random_inputs(5, 2)
    straight = rotvec.copy()
    straight[:, 0] = 0
    turned, upright = (body.shaped(betas).posed(r, transl) for r in (rotvec, straight))
    np.testing.assert_allclose(
        turned.joints[:, 0], body.rest_joints(betas)[:, 0] + transl, atol=1e-6
    )
    R, root = exp_so3(rotvec[:, 0]), upright.joints[:, :1]
    expected = np.einsum("kij,kvj->kvi", R, upright.vertices() - root) + root
    np.testing.assert_allclose(turned.vertices(), expected, atol=1e-5)


def test_bone_lengths_do_not_depend_on_the_pose(body: BodyModel) -> None:
    rotvec, betas, transl = random_inputs(20, 3)
    parents = list(PARENTS[1:])
    lengths = [
        np.linalg.norm(joints[:, 1:] - joints[:, parents], axis=-1)
        for joints in (body.rest_joints(betas), joints_only(body, rotvec, betas, transl))
    ]
    np.testing.assert_allclose(lengths[1], lengths[0], atol=1e-5)


def test_default_body_stands_in_a_t_pose(body: BodyModel) -> None:
    joints, skin = body.J_template, body.full.v_template
    for side, sign in (("left", 1), ("right", -1)):
        arm = joints[[JOINT[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist", "hand")]]
        assert (np.diff(arm[:, 0]) * sign > 0.05).all(), "the left arm points to +x"
        np.testing.assert_allclose(arm[1:, 1:], np.broadcast_to(arm[0, 1:], (3, 2)), atol=0.01)
        leg = joints[[JOINT[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")]]
        assert (np.diff(leg[:, 1]) < -0.03).all(), "y is up"
        assert leg[3, 2] - leg[2, 2] > 0.08, "toes point to +z"
    spine = joints[
        [JOINT[name] for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")], 1
    ]
    assert (np.diff(spine) > 0.03).all()
    np.testing.assert_allclose(joints[:, 0].sum(), 0, atol=1e-3)
    assert 1.6 < np.ptp(skin[:, 1]) < 1.8
    assert np.abs(np.ptp(skin[:, 0]) / np.ptp(skin[:, 1]) - 1) < 0.08, (
        "arm span is about the height"
    )


def test_default_body_has_plausible_shapes(body: BodyModel) -> None:
    betas = np.random.default_rng(4).normal(size=(200, 10))
    skin = body.shaped(betas).rest_vertices("decimated")
    height = np.ptp(skin[..., 1], axis=1)
    assert height.min() > 1.35 and height.max() < 2.1
    assert 0.06 < height.std() < 0.13, "adults of both sexes differ by 7 to 11 cm"
    limbs = {
        "thigh": ("left_hip", "left_knee"),
        "shin": ("left_knee", "left_ankle"),
        "forearm": ("left_elbow", "left_wrist"),
    }
    joints = body.rest_joints(betas)
    for name, (a, b) in limbs.items():
        share = np.linalg.norm(joints[:, JOINT[a]] - joints[:, JOINT[b]], axis=-1) / height
        assert share.min() > 0.11 and share.max() < 0.3, name


def test_default_hips_turn_about_the_centres_of_peoples_hips(body: BodyModel) -> None:
    betas = np.random.default_rng(5).normal(size=(200, 10))
    joints = body.rest_joints(betas)
    hip, knee, ankle = (joints[:, JOINT[f"left_{name}"]] for name in ("hip", "knee", "ankle"))
    below_hip = np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)
    leg = (below_hip + 0.009) / (1 - 0.078)
    apart = np.linalg.norm(hip - joints[:, JOINT["right_hip"]], axis=-1)
    off = apart / 2 - (0.008 + 0.086 * leg)  # Hara et al., 2016
    assert abs(np.median(off)) < 0.002
    assert np.abs(off).max() < 0.008  # legs vary beside the trunk that the hips are part of
    assert 0.155 < np.median(apart) < 0.185


def test_default_arms_are_as_long_as_peoples(body: BodyModel) -> None:
    """De Leva (1996): shoulder to wrist is 0.316 of the stature of men and 0.311 of women's."""
    betas = np.random.default_rng(6).normal(size=(500, 10))
    joints = body.rest_joints(betas)
    vertices = body.shaped(betas).rest_vertices("decimated")
    chain = joints[:, [JOINT[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")]]
    arm = np.linalg.norm(np.diff(chain, axis=1), axis=-1).sum(1)
    share = arm / np.ptp(vertices[..., 1], axis=-1)
    assert 0.305 < np.median(share) < 0.317
    assert 0.03 < np.log(share).std() < 0.05


def test_default_joint_regressor_is_a_sparse_average() -> None:
    regressor = default_arrays()["J_regressor"]
    assert (regressor >= 0).all()
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-6)
    assert ((regressor > 0).sum(1) < 60).all()


def test_default_weights_sum_to_one_exactly(body: BodyModel) -> None:
    np.testing.assert_array_equal(body.full.weights.sum(1), 1)
    assert (body.full.weights >= 0).all()
    assert ((body.full.weights > 0).sum(1) <= 6).all()


def test_default_asset_is_small() -> None:
    assert DEFAULT_BODY.stat().st_size < 4e6


def test_decimated_mesh_lies_on_the_full_mesh_in_every_pose(body: BodyModel) -> None:
    """Skinning keeps a point inside its triangle, up to how the corners' transforms blend."""
    rotvec = daily_poses()
    posed = body.shaped(np.zeros(10)).posed(rotvec, np.zeros(3))
    full, decimated = posed.vertices("full"), posed.vertices("decimated")
    arrays = default_arrays()
    decimation = Decimation(
        arrays["decimated_vertex_ids"], arrays["decimated_vertex_weights"], arrays["decimated_f"]
    )
    on_surface = np.stack([decimation.interpolate(v) for v in full])
    gap = np.linalg.norm(decimated - on_surface, axis=-1)
    assert gap.mean() < 0.0005 and gap.max() < 0.01, (gap.mean(), gap.max())


def test_full_mesh_is_near_the_decimated_surface(body: BodyModel) -> None:
    """The other direction: nothing of the body is missing from the decimated mesh."""
    rotvec = daily_poses()[::4]
    posed = body.shaped(np.zeros(10)).posed(rotvec, np.zeros(3))
    for full, decimated in zip(posed.vertices("full"), posed.vertices("decimated"), strict=True):
        distance = distance_to_surface(full, decimated, body.decimated.faces)
        assert distance.mean() < 0.003 and distance.max() < 0.03, (distance.mean(), distance.max())


def daily_poses() -> np.ndarray:
    """Random poses: large angles at hips, knees, shoulders and elbows, small ones in the trunk."""
    spread = np.full((NUM_JOINTS, 1), 0.15)
    spread[[1, 2, 4, 5, 16, 17, 18, 19]] = 0.7
    poses = np.random.default_rng(5).normal(size=(12, NUM_JOINTS, 3)) * spread
    poses[:, [4, 5]] = np.abs(poses[:, [4, 5]]) * [1, 0.05, 0.05]  # knees only bend, and backwards
    return poses


def distance_to_surface(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest sample of the surface: an upper bound."""
    spatial = pytest.importorskip("scipy.spatial")
    steps = 6
    grid = (
        np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)])
        / steps
    )
    samples = np.einsum("sc,fcd->fsd", grid, vertices[faces]).reshape(-1, 3)
    return spatial.cKDTree(samples).query(points)[0]


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def test_load_reads_what_was_written(tmp_path: Path) -> None:
    model = BodyModel.load(write(tmp_path / "b.npz", synthetic_arrays()))
    assert model.name == "synthetic"
    assert model.full.posedirs is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": None}, "lacks weights"),
        ({"v_template": np.zeros((7, 3))}, "shape"),
        ({"v_template": np.array(1.0)}, r"v_template has shape \(\)"),
        ({"v_template": np.zeros((0, 3))}, r"v_template has shape \(0, 3\)"),
        ({"v_template": np.full((480, 3), np.nan)}, "v_template holds numbers that are not finite"),
        ({"v_template": np.full((480, 3), np.inf)}, "v_template holds numbers that are not finite"),
        ({"v_template": np.full((480, 3), 1e300)}, r"not finite or above 1e\+06"),
        ({"v_template": np.full((480, 3), "a")}, "v_template holds <U1, no numbers"),
        ({"shapedirs": np.zeros((480, 3, 4))}, "shapedirs has shape"),
        ({"shapedirs": np.array(0.0)}, "shapedirs has shape"),
        ({"kintree_table": np.zeros((2, 24), np.uint32)}, "24 joints"),
        ({"kintree_table": np.zeros((2, 24))}, "24 joints"),
        ({"f": np.full((4, 3), 10_000, np.uint32)}, "points outside"),
        ({"f": np.full((4, 3), -1)}, "points outside"),
        ({"f": np.zeros((4, 3))}, "f holds float64, no indices"),
        ({"f": np.array(3)}, "f has shape"),
        ({"decimated_f": np.zeros((0, 3), np.int32)}, "decimated_f has shape"),
        ({"decimated_vertex_ids": np.array(1)}, "decimated_vertex_ids has shape"),
        ({"decimated_vertex_weights": np.full((480, 3), np.nan)}, "not finite"),
        ({"version": np.array(1)}, "has version 1"),
        ({"version": np.array(["2"])}, "has version 1"),
        ({"record": np.array("not json")}, "record"),
        ({"record": np.array("[" * 100_000)}, "record"),
        ({"record": np.array('{"name": 3}')}, "record"),
        ({"record": np.array('{"name": "\\u001b[2J"}')}, "record"),
        ({"record": np.array('{"name": "' + 200 * "x" + '"}')}, "record"),
    ],
)
def test_malformed_files_are_named(
    tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    arrays = {
        key: value for key, value in (synthetic_arrays() | change).items() if value is not None
    }
    with pytest.raises(PenumbraError, match=message):
        BodyModel.load(write(tmp_path / "b.npz", arrays))


def test_missing_truncated_and_pickled_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="does not exist"):
        BodyModel.load(tmp_path / "nothing.npz")
    truncated = tmp_path / "truncated.npz"
    truncated.write_bytes(DEFAULT_BODY.read_bytes()[:5000])
    with pytest.raises(PenumbraError, match="not a safe"):
        BodyModel.load(truncated)
    np.savez(tmp_path / "objects.npz", v_template=np.array([{}], dtype=object))
    with pytest.raises(PenumbraError, match="not a safe"):
        BodyModel.load(tmp_path / "objects.npz")
    np.savez(tmp_path / "archive.npz", joints=np.zeros((5, 24, 3)))
    with pytest.raises(PenumbraError, match="is another kind of file than a body"):
        BodyModel.load(tmp_path / "archive.npz")


def test_files_of_the_first_version_are_refused(tmp_path: Path) -> None:
    arrays = synthetic_arrays()
    del arrays["version"]
    arrays["live_f"] = arrays.pop("decimated_f")
    with pytest.raises(PenumbraError, match="has version 1 where 2 is expected; convert"):
        BodyModel.load(write(tmp_path / "b.npz", arrays))


def test_few_and_many_bodies_are_posed_alike() -> None:
    rng = np.random.default_rng(8)
    rotations, rest, transl = (
        exp_so3(rng.normal(size=(250, 24, 3))),
        rng.normal(size=(24, 3)),
        rng.normal(size=(250, 3)),
    )
    many = forward_kinematics(rotations, rest, transl)
    few = [forward_kinematics(R, rest, t) for R, t in zip(rotations, transl, strict=True)]
    for part, whole in zip(zip(*few, strict=True), many, strict=True):
        np.testing.assert_allclose(np.stack(part), whole, atol=1e-12)
