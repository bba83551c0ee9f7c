"""Clips against an independent forward kinematics of the same recordings."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from engines.body import BodyModel, joints_only
from engines.errors import PenumbraError
from engines.rotations import exp_so3, geodesic_angle
from engines.types import JOINT_NAMES, NUM_BETAS
from tests.support.paths import SHARED
from trainer.motion.asf_amc import METRES_PER_UNIT, read_amc, read_asf
from trainer.motion.bvh import read_bvh
from trainer.motion.clip import Motion, load_clip
from trainer.motion.recording import Recording

CMU = SHARED / "data" / "mocap" / "cmu"
needs_cmu = pytest.mark.skipif(
    not (CMU / "clips.csv").is_file(), reason="the CMU recordings are not on this machine"
)

# fmt: off
REFERENCE = (
    "pelvis", "l_hip", "l_knee", "l_ankle", "l_toe", "r_hip", "r_knee", "r_ankle", "r_toe",
    "spine", "chest", "neck", "head",
    "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
)
SOURCE_JOINTS = {
    "asf": "root lfemur ltibia lfoot ltoes rfemur rtibia rfoot rtoes upperback thorax lowerneck"
           " head lhumerus lradius lwrist rhumerus rradius rwrist",
    "bvh-motionbuilder": "Hips LeftUpLeg LeftLeg LeftFoot LeftToeBase RightUpLeg RightLeg RightFoot"
           " RightToeBase Spine Spine1 Neck1 Head LeftArm LeftForeArm LeftHand RightArm"
           " RightForeArm RightHand",
    "bvh-daz": "hip lThigh lShin lFoot - rThigh rShin rFoot - abdomen chest neck head lShldr"
           " lForeArm lHand rShldr rForeArm rHand",
}
BONES = {  # SMPL joints, reference joints, most mean degrees apart
    "thigh": ("hip", "knee", "hip", "knee", 0.5), "shank": ("knee", "ankle", "knee", "ankle", 0.5),
    "upper arm": ("shoulder", "elbow", "shoulder", "elbow", 0.5),
    "forearm": ("elbow", "wrist", "elbow", "wrist", 0.5),
    # The body's toe base lies lower under its ankle than a recorded one: a flat foot has to stay
    # flat.
    "foot": ("ankle", "foot", "ankle", "toe", 15.0),
}
# fmt: on
CLIPS = {"asf": "07_01", "bvh-motionbuilder": "35_01", "bvh-daz": "94_13"}


def clip_row(clip: str) -> dict[str, str]:
    with (CMU / "clips.csv").open(newline="") as file:
        return next(row for row in csv.DictReader(file) if row["clip"] == clip)


def read(row: dict[str, str]) -> Recording:
    path = CMU / row["file"]
    if row["format"] == "amc":
        return read_amc(path, read_asf(path.parent / f"{path.parent.name}.asf"), float(row["fps"]))
    return read_bvh(path, 0.01 if row["skeleton"] == "bvh-daz" else METRES_PER_UNIT)


def reference(clip: str) -> np.ndarray:
    with np.load(CMU / "reference_joints.npz") as file:
        assert tuple(file["joints"]) == REFERENCE
        return file[clip]


def at_reference_times(values: np.ndarray, skeleton: str, frames: int) -> np.ndarray:
    """Values of a BVH clip at the times of the reference.

    The T-pose that stands before the recording in a BVH file shifts which of the original 120
    frames per second are kept: kept frame i of the file was recorded 1/120 s before frame i of the
    reference. So values are interpolated a quarter of a frame later; frame 0, the T-pose, and the
    ends of the spline are left out (NaN).
    """
    if skeleton == "asf":
        return values
    out = np.full((frames, *values.shape[1:]), np.nan)
    times = np.arange(3, min(frames, len(values)) - 3)
    out[times] = CubicSpline(np.arange(1, len(values)), values[1:])(times + 0.25)
    return out


@needs_cmu
@pytest.mark.parametrize("skeleton", list(CLIPS))
def test_readers_agree_with_independent_kinematics(skeleton: str) -> None:
    clip = CLIPS[skeleton]
    recording, truth = read(clip_row(clip)), reference(clip)
    positions = recording.world_positions(recording.world_rotations())
    for i, name in enumerate(SOURCE_JOINTS[skeleton].split()):
        if name == "-":
            continue
        ours = at_reference_times(positions[:, recording.index(name)], skeleton, len(truth))
        errors = np.linalg.norm(ours - truth[:, i], axis=-1)
        # AMC is exact. BVH angles are rounded to 0.001 degrees and compared by interpolation.
        assert np.nanmedian(errors) < (1e-5 if skeleton == "asf" else 1.5e-3), (
            name,
            np.nanmedian(errors),
        )


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def smpl_joints(body: BodyModel, motion: Motion) -> np.ndarray:
    return joints_only(body, motion.rotvec, np.zeros(NUM_BETAS), motion.transl)


def directions(joints: np.ndarray, start: str, stop: str, names: tuple[str, ...]) -> np.ndarray:
    bone = joints[:, names.index(stop)] - joints[:, names.index(start)]
    return bone / np.linalg.norm(bone, axis=-1, keepdims=True)


def bone_errors_deg(body: BodyModel, clip: str, skeleton: str) -> dict[str, float]:
    """Mean angle between the bones of the retargeted body and the reference's, degrees."""
    truth = reference(clip)
    motion = load_clip(CMU / clip_row(clip)["file"])
    joints = smpl_joints(body, motion)
    if skeleton != "asf":  # bring back the place of the T-pose that load_clip took away
        joints = np.concatenate([joints[:1], joints])
    joints = at_reference_times(joints, skeleton, len(truth))
    errors = {}
    for bone, (start, stop, ref_start, ref_stop, _) in BONES.items():
        if bone == "foot" and skeleton == "bvh-daz":
            continue  # the reference has no toe there
        angles = []
        for side in ("left", "right"):
            ours = directions(joints, f"{side}_{start}", f"{side}_{stop}", JOINT_NAMES)
            theirs = directions(truth, f"{side[0]}_{ref_start}", f"{side[0]}_{ref_stop}", REFERENCE)
            angles.append(np.degrees(np.arccos(np.clip((ours * theirs).sum(-1), -1, 1))))
        errors[bone] = float(np.nanmean(angles))
    return errors


@needs_cmu
@pytest.mark.parametrize("skeleton", list(CLIPS))
def test_retargeted_limbs_point_where_the_recorded_ones_do(body: BodyModel, skeleton: str) -> None:
    for bone, error in bone_errors_deg(body, CLIPS[skeleton], skeleton).items():
        assert error < BONES[bone][-1], (bone, error)


@needs_cmu
@pytest.mark.parametrize("clip", CLIPS.values())
def test_knees_and_elbows_bend_the_way_people_do(clip: str) -> None:
    rotvec = load_clip(CMU / clip_row(clip)["file"]).rotvec
    knees = rotvec[:, [4, 5]]
    bent = np.linalg.norm(knees, axis=-1) > 0.4
    axes = knees[bent] / np.linalg.norm(knees[bent], axis=-1, keepdims=True)
    assert bent.any() and (axes[:, 0] > 0.95).all()
    for elbow, sign in ((18, -1), (19, 1)):
        assert (sign * rotvec[:, elbow, 1] > -0.1).all()


@needs_cmu
@pytest.mark.parametrize("clip", ["07_01", "35_01", "10_04"])
def test_walkers_face_where_they_go(body: BodyModel, clip: str) -> None:
    motion = load_clip(CMU / clip_row(clip)["file"])
    way = (motion.transl[-1] - motion.transl[0]) * (1, 0, 1)
    facing = exp_so3(motion.rotvec[:, 0])[:, :, 2]
    assert np.linalg.norm(way) > 1
    assert (facing @ way / np.linalg.norm(way) > 0.9).mean() > 0.9
    head = smpl_joints(body, motion)[:, JOINT_NAMES.index("head")]
    assert (head[:, 1] > 1.3).all(), "y is up and the floor is near zero"


@needs_cmu
def test_the_t_pose_before_a_bvh_recording_is_left_out() -> None:
    row = clip_row("35_01")
    assert len(load_clip(CMU / row["file"]).rotvec) == int(row["frames"]) - 1


@pytest.mark.parametrize(("width", "known"), [(72, 24), (156, 22), (165, 22)])
def test_amass_is_turned_y_up(tmp_path: Path, width: int, known: int) -> None:
    rng = np.random.default_rng(2)
    poses, trans = rng.normal(0, 0.3, (4, width)), rng.normal(0, 1, (4, 3))
    path = tmp_path / "clip_poses.npz"
    np.savez(path, poses=poses, trans=trans, mocap_framerate=60.0)
    motion = load_clip(path)
    assert motion.fps == 60
    np.testing.assert_allclose(motion.transl[:, 1], trans[:, 2])
    np.testing.assert_allclose(motion.rotvec[:, 1:known], poses[:, 3 : 3 * known].reshape(4, -1, 3))
    assert not motion.rotvec[:, known:].any()
    up_before = exp_so3(poses[:, :3])[:, 2]  # height of each body axis
    np.testing.assert_allclose(exp_so3(motion.rotvec[:, 0])[:, 1], up_before, atol=1e-12)
    tilt = geodesic_angle(exp_so3(motion.rotvec[:, 0]), exp_so3(poses[:, :3]))
    np.testing.assert_allclose(tilt, np.pi / 2, atol=1e-9)


@pytest.mark.parametrize("name", ["none.amc", "none.bvh", "none.npz"])
def test_a_missing_clip_is_named(name: str) -> None:
    with pytest.raises(PenumbraError, match=name):
        load_clip(name)


def test_a_clip_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.fbx"
    path.write_bytes(b"")
    with pytest.raises(PenumbraError, match=r"clip\.fbx"):
        load_clip(path)
