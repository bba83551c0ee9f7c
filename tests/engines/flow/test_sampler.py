"""The live sampler draws what the trainer draws, and refuses models that do not fit."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engines.backends.engine import open_engine
from engines.blazepose.models import detector_model
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.flow import sampler
from engines.flow.features import NUM_FEATURES
from engines.flow.model import FlowModel
from engines.flow.sampler import DIM, Sampler, features_of, open_sampler
from engines.rotations import exp_so3
from engines.types import Landmarks, Roi
from tests.support.random_samples import (
    mhentropy,
    random_anchored_flow,
    random_flow,
    random_records,
    stored_run,
)
from trainer import export_onnx
from trainer.data import samples as data
from trainer.export.onnx import write_model
from trainer.methods.mhentropy import MHEntropy
from trainer.model.kinematics import SkeletonTensors, view_joints

K = 9


def trained(body: BodyModel) -> MHEntropy:
    return mhentropy(body, random_flow(seed=3))


def exported(folder: Path, method: MHEntropy) -> FlowModel:
    stored_run(folder / "run", method)
    export_onnx.main(export_onnx.ExportConfig(folder / "run", folder / "flow.onnx"))
    return FlowModel.load(folder / "flow.onnx")


@pytest.fixture(scope="module")
def model(body: BodyModel, tmp_path_factory: pytest.TempPathFactory) -> FlowModel:
    return exported(tmp_path_factory.mktemp("model"), trained(body))


def landmarks(raw: dict[str, np.ndarray], i: int) -> tuple[Landmarks, Intrinsics]:
    arrays = (
        raw[key][i].astype(float) for key in ("points", "depth", "visibility", "presence", "world")
    )
    focal = float(raw["focal"][i])
    found = Landmarks(*arrays, 1.0, Roi(np.zeros(2), 1.0, 0.0))
    return found, Intrinsics(focal, focal, 640.0, 360.0, (1280, 720))


def test_live_hypotheses_are_the_trainers(body: BodyModel, model: FlowModel) -> None:
    method = trained(body)
    raw = random_records(3, 5, body)
    batch = data.encode(raw, body)
    sampler = open_sampler(body, K, "onnxruntime", model)
    z = torch.from_numpy(sampler.engine.inputs["z"].copy())
    with torch.no_grad():
        context = method.flow.encode(batch.features)
        drawn, log_q = method.flow.sample(context, z[None].expand(3, -1, -1))
        in_view = method.priors.joints(batch, drawn).numpy()
    for i in range(3):
        found, intrinsics = landmarks(raw, i)
        samples = sampler(found, intrinsics)
        center = in_view[i, :, :1]
        scale = np.linalg.norm(
            center, axis=-1, keepdims=True
        )  # an untrained flow also draws people 100 m away
        lengths = np.linalg.norm(samples.hypotheses.joints, axis=-1)
        np.testing.assert_allclose(lengths, np.linalg.norm(in_view[i], axis=-1), rtol=1e-4)
        apart = np.linalg.norm(np.diff(samples.hypotheses.joints, axis=1), axis=-1)
        np.testing.assert_allclose(
            apart, np.linalg.norm(np.diff(in_view[i], axis=1), axis=-1), atol=1e-4 * scale.max()
        )
        np.testing.assert_allclose(samples.hypotheses.log_q, log_q[i], atol=0.02)
        np.testing.assert_allclose(
            samples.joint_visible, torch.sigmoid(context.visible_logits[i]), atol=1e-4
        )


@pytest.fixture(scope="module")
def anchored(body: BodyModel, tmp_path_factory: pytest.TempPathFactory) -> FlowModel:
    path = tmp_path_factory.mktemp("anchored") / "flow.onnx"
    write_model(random_anchored_flow(seed=3), path, body, {})
    return FlowModel.load(path)


def test_live_hypotheses_of_an_anchored_flow_are_the_trainers(
    body: BodyModel, anchored: FlowModel
) -> None:
    flow, raw = random_anchored_flow(seed=3), random_records(3, 5, body)
    skeleton = SkeletonTensors(torch.tensor(body.J_template), torch.tensor(body.J_shapedirs))
    sampler = open_sampler(body, K, "onnxruntime", anchored)
    z = torch.from_numpy(sampler.engine.inputs["z"].copy())[None]
    for i in range(3):
        found, intrinsics = landmarks(raw, i)
        features, view = features_of(found, intrinsics, "landmarks_2d")
        drawn = sampler(found, intrinsics).hypotheses
        with torch.no_grad():
            context = flow.encode(torch.from_numpy(features)[None])
            bodies, log_q = flow.sample(context, z)
            half_size = torch.tensor([float(view.half_size)])
            in_view = view_joints(skeleton, context.R_anchor, half_size, bodies)[0].numpy()
        scale = np.abs(in_view).max()
        np.testing.assert_allclose(
            drawn.joints, in_view @ view.R_cam_view.T, atol=2e-5 * max(scale, 1)
        )
        np.testing.assert_allclose(drawn.log_q, log_q[0], atol=0.02)
        posed = body.shaped(drawn.betas).posed(drawn.rotvec, drawn.transl)
        np.testing.assert_allclose(posed.joints, drawn.joints, atol=2e-5 * max(scale, 1))


def test_features_and_graph_must_fit(
    body: BodyModel, model: FlowModel, anchored: FlowModel, tmp_path: Path
) -> None:
    for one, features in ((model, "landmarks_2d"), (anchored, "landmarks_3d")):
        wrong = replace(one, record=one.record | {"features": features})
        with pytest.raises(PenumbraError, match=r"flow\.onnx is not the graph of a flow|features"):
            open_sampler(body, K, "onnxruntime", wrong)
    proto = onnx.load(str(anchored.onnx))
    proto.graph.output.pop()
    with pytest.raises(PenumbraError, match=r"not the graph of a flow \(anchor differs"):
        open_sampler(body, K, "onnxruntime", resigned(tmp_path, anchored, proto))


def test_parameters_reproduce_the_joints(body: BodyModel, model: FlowModel) -> None:
    drawn = open_sampler(body, K, "onnxruntime", model)(
        *landmarks(random_records(1, 6, body), 0)
    ).hypotheses
    posed = body.shaped(drawn.betas).posed(drawn.rotvec, drawn.transl)
    scale = np.linalg.norm(drawn.joints, axis=-1).max()
    np.testing.assert_allclose(posed.joints, drawn.joints, atol=2e-6 * max(scale, 5.0) * 3)
    assert drawn.weights.sum() == pytest.approx(1) and drawn.rotvec.shape == (K, 24, 3)


def test_the_noise_is_kept_and_hypothesis_zero_is_the_center(
    body: BodyModel, model: FlowModel
) -> None:
    sampler, other = (open_sampler(body, count, "onnxruntime", model) for count in (K, 3))
    z = sampler.engine.inputs["z"]
    assert z.shape == (K, DIM) and (z[0] == 0).all() and (np.abs(z[1:]).max(-1) > 1).all()
    person = landmarks(random_records(1, 6, body), 0)
    first, elsewhere, again = sampler(*person), other(*person), sampler(*person)
    np.testing.assert_array_equal(first.hypotheses.joints, again.hypotheses.joints)
    np.testing.assert_allclose(
        elsewhere.hypotheses.joints[0], first.hypotheses.joints[0], rtol=1e-4
    )


def test_results_are_not_overwritten_by_the_next_frame(body: BodyModel, model: FlowModel) -> None:
    sampler, raw = open_sampler(body, K, "onnxruntime", model), random_records(2, 6, body)
    first = sampler(*landmarks(raw, 0))
    before = {name: value.copy() for name, value in vars(first.hypotheses).items()}
    visible = first.joint_visible.copy()
    second = sampler(*landmarks(raw, 1))
    assert not np.allclose(second.hypotheses.joints, before["joints"])
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(first.hypotheses, name), value)
    np.testing.assert_array_equal(first.joint_visible, visible)


@pytest.mark.parametrize("count", [0, -3])
def test_no_hypotheses_are_refused(body: BodyModel, model: FlowModel, count: int) -> None:
    with pytest.raises(PenumbraError, match=rf"hypotheses: must be at least 1, not {count}"):
        open_sampler(body, count, "onnxruntime", model)


def resigned(folder: Path, model: FlowModel, proto: onnx.ModelProto) -> FlowModel:
    """A model whose record describes a changed graph."""
    path = folder / "flow.onnx"
    path.write_bytes(proto.SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(model.record | {"sha256": digest}))
    return FlowModel.load(path)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_graph_that_is_no_flow_is_refused(
    body: BodyModel, model: FlowModel, tmp_path: Path, backend: str
) -> None:
    proto = onnx.load(str(model.onnx))
    proto.graph.output.pop(0)
    with pytest.raises(PenumbraError, match=r"flow\.onnx is not the graph of a flow \(rotvec"):
        open_sampler(body, K, backend, resigned(tmp_path, model, proto))
    detector = onnx.load(str(detector_model()))
    with pytest.raises(PenumbraError, match=r"model: flow\.onnx is not the graph of a flow"):
        open_sampler(body, K, backend, resigned(tmp_path, model, detector))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_graph_with_damaged_weights_is_refused(
    body: BodyModel, model: FlowModel, tmp_path: Path, backend: str
) -> None:
    proto = onnx.load(str(model.onnx))
    largest = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.raw_data = np.full(len(largest.raw_data) // 4, np.nan, np.float32).tobytes()
    with pytest.raises(PenumbraError, match=r"flow\.onnx returns numbers that are not finite"):
        open_sampler(body, K, backend, resigned(tmp_path, model, proto))


def test_features_and_noise_have_the_stated_sizes(model: FlowModel, body: BodyModel) -> None:
    engine = open_engine(model.onnx, "onnxruntime", {"z": (2, DIM)})
    assert engine.inputs["features"].shape == (1, NUM_FEATURES)
    assert Sampler(engine, body, 2).num_hypotheses == 2


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_kernels_run_where_the_network_does(
    device: str, body: BodyModel, model: FlowModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(model.onnx, "onnxruntime", {"features": (1, NUM_FEATURES), "z": (K, DIM)})
    monkeypatch.setattr(engine, "device", device)
    asked: list[str] = []
    monkeypatch.setattr(sampler, "JointPlan", lambda skeleton, count, device: asked.append(device))
    Sampler(engine, body, K)
    assert asked == [device]


def test_several_people_are_sampled_as_one_after_another(body: BodyModel, model: FlowModel) -> None:
    raw = random_records(5, 11, body)
    people = [landmarks(raw, i)[0] for i in range(5)]
    camera = landmarks(raw, 0)[1]
    together = open_sampler(body, K, "openvino", model, max_people=3)
    for found, person in zip(together.each(people, camera, 1), people, strict=True):
        alone = together(person, camera, 1)
        for name, value in vars(alone.hypotheses).items():
            actual = getattr(found.hypotheses, name)
            np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(found.joint_visible, alone.joint_visible, atol=1e-5)
        assert found.half_size == alone.half_size


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_camera_on_its_side_sees_the_same_person(body: BodyModel, quarters: int) -> None:
    """The hypotheses of a rolled image are those of the upright one, rolled."""
    raw = random_records(1, 3, body)
    found, upright = landmarks(raw, 0)
    upright = replace(upright, cx=500.0, cy=500.0, size=(1000, 1000))
    sampler = open_sampler(body, K)
    before = sampler(found, upright).hypotheses
    angle = 0.5 * np.pi * quarters
    R = exp_so3(np.array([0.0, 0.0, angle]))
    middle = np.array([500.0, 500.0])
    turned = replace(found, points=(found.points - middle) @ R[:2, :2].T + middle)
    after = sampler(turned, upright, quarters).hypotheses
    np.testing.assert_allclose(after.joints, before.joints @ R.T, atol=2e-3)
    np.testing.assert_allclose(
        exp_so3(after.global_orient), R @ exp_so3(before.global_orient), atol=2e-3
    )
    np.testing.assert_allclose(after.body_pose, before.body_pose, atol=2e-3)
