"""Training samples without rendering: random bodies with noisy joints as landmarks; tiny methods.

`random_records` has the form of a file of `trainer.synthesize`, `random_batch` that of
`trainer.data.samples`.
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch

from engines.blazepose.roi import image_to_crop
from engines.body import BodyModel, joints_only
from engines.rotations import exp_so3, log_so3
from engines.types import Roi
from trainer.data import samples as data
from trainer.data.augment import JOINT_OF_LANDMARK
from trainer.methods.method import Priors, Supervision
from trainer.methods.mhentropy import MHEntropy, MHEntropyConfig
from trainer.methods.registry import MethodConfigs
from trainer.model.anchored_flow import AnchoredFlow, AnchoredFlowConfig
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import FlowConfig, PoseFlow
from trainer.model.pose_prior import PoseMixture
from trainer.runs.config import TrainConfig

TINY = FlowConfig(couplings=3, hidden=16)
TINY_ENCODER = EncoderConfig(width=32, blocks=1)
TINY_ANCHORED = AnchoredFlowConfig(width=32, blocks=1, narrow=16, couplings=3, hidden=16)


def random_records(
    count: int, seed: int, body: BodyModel, noise_px: float = 2.0
) -> dict[str, np.ndarray]:
    """People who face the camera within a quarter turn, 3 to 5 m away, in turned crops."""
    rng = np.random.default_rng(seed)
    focal, size = (
        rng.uniform(700, 900, count).astype(np.float32),
        np.tile([1280, 720], (count, 1)).astype(np.int32),
    )
    rotvec = rng.normal(0, 0.25, (count, 24, 3))
    facing = np.diag(
        [1.0, -1.0, -1.0]
    )  # body y up, z forward  ->  camera y down, z towards the camera
    turn = np.column_stack([np.zeros(count), rng.uniform(-1.5, 1.5, count), np.zeros(count)])
    rotvec[:, 0] = log_so3(exp_so3(rng.normal(0, 0.1, (count, 3))) @ facing @ exp_so3(turn))
    betas = rng.normal(0, 1, (count, 10)).astype(np.float32)
    pelvis = np.column_stack(
        [rng.uniform(-0.8, 0.8, count), rng.uniform(-0.2, 0.4, count), rng.uniform(3, 5, count)]
    ).astype(np.float32)
    joints = joints_only(body, rotvec, betas, pelvis - body.rest_joints(betas)[:, 0])
    marks = joints[:, JOINT_OF_LANDMARK].astype(np.float64)
    hips = marks[:, 23:25].mean(1, keepdims=True)
    points = marks[..., :2] / marks[..., 2:] * focal[:, None, None] + size[:, None] / 2
    turned = rng.normal(0, 0.3, count)
    rois = [
        Roi(p.mean(0), 2.5 * float(np.ptp(p)), float(r))
        for p, r in zip(points, turned, strict=True)
    ]
    return {
        "points": (points + rng.normal(0, noise_px, points.shape)).astype(np.float32),
        "depth": ((marks - hips)[..., 2] * focal[:, None] / hips[..., 2]).astype(np.float32),
        "visibility": rng.uniform(0.5, 1, (count, 33)).astype(np.float32),
        "presence": rng.uniform(0.9, 1, (count, 33)).astype(np.float32),
        "peak": rng.uniform(0.3, 1, (count, 33)).astype(np.float32),
        "world": (marks - hips + rng.normal(0, 0.01, marks.shape)).astype(np.float32),
        "score": np.ones(count, np.float32),
        "focal": focal,
        "size": size,
        "window": np.column_stack([np.zeros((count, 2)), size]).astype(np.float32),
        "crop": np.zeros(count, np.int8),
        "crop_from_image": np.stack([image_to_crop(roi, 256) for roi in rois]).astype(np.float32),
        "rotvec": rotvec.astype(np.float32),
        "betas": betas,
        "pelvis": pelvis,
        "joint_visible": rng.random((count, 24)) < 0.8,
    }


def random_batch(count: int, seed: int, body: BodyModel) -> data.Batch:
    """The same as a method's inputs and targets."""
    return data.encode(random_records(count, seed, body), body)


def unlabelled(records: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `trainer.video_landmarks` would have stored: the same without any truth."""
    loss_3d = {"rotvec", "betas", "pelvis", "joint_visible", "crop"}
    return {key: value for key, value in records.items() if key not in loss_3d}


def prior() -> PoseMixture:
    """One round Gaussian about the T-pose."""
    return PoseMixture.from_moments(torch.ones(1), torch.zeros(1, 69), 0.1 * torch.eye(69)[None])


def priors(body: BodyModel) -> Priors:
    """What is known beforehand, with the round prior."""
    return Priors(body, prior())


def random_flow(seed: int, spread: float = 0.3, encoder: EncoderConfig = TINY_ENCODER) -> PoseFlow:
    """A tiny flow whose last layers, which start at zero, are filled, so that the picture matters
    everywhere.
    """
    torch.manual_seed(seed)
    flow = PoseFlow(TINY, encoder)
    layers = [flow.conditioner.affine, *(coupling.last for coupling in flow.couplings)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(0, spread / math.sqrt(layer.in_features))
            layer.bias.normal_(0, spread)
        flow.mean.normal_(0, 0.3)
        flow.std.uniform_(0.3, 0.7)
    return flow.eval()


def random_anchored_flow(seed: int) -> AnchoredFlow:
    """A tiny flow all of whose weights are random, so that the image matters everywhere."""
    torch.manual_seed(seed)
    flow = AnchoredFlow(TINY_ANCHORED)
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        flow.mean.normal_(0, 0.1)
        flow.std.uniform_(0.2, 0.4)
    return flow.eval()


def mhentropy(
    body: BodyModel, flow: PoseFlow, supervision: Supervision = "3d", **weights: float
) -> MHEntropy:
    """The method around a flow, with other weights where they are given."""
    config = MHEntropyConfig(flow=flow.config, **weights)  # pyright: ignore[reportArgumentType]
    method = MHEntropy(supervision, priors(body), config, flow.encoder.config)
    method.flow = flow
    return method.eval()


def stored_run(run: Path, method: MHEntropy) -> TrainConfig:
    """Write a finished run whose averaged weights are `method`'s; its raw weights are others."""
    run.mkdir()
    encoder = method.flow.encoder.config
    config = TrainConfig(run=run, encoder=encoder, methods=MethodConfigs(mhentropy=method.config))
    starts = [
        {"commit": "old", "config": {}},
        {"commit": "abc", "config": dataclasses.asdict(config)},
    ]
    (run / "config.json").write_text(json.dumps({"starts": starts}, default=str))
    (run / "scores.json").write_text(json.dumps({"mean_pa": 51.0}))
    unaveraged = {name: value + 1 for name, value in method.state_dict().items()}
    torch.save(
        {"method": unaveraged, "average": method.state_dict(), "done": 1, "skipped": 0},
        run / "last.pt",
    )
    return config
