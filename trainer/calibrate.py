"""Measure how far an exported flow's spread can be trusted, on people it was not trained on, and store the correction.

    python -m trainer.calibrate --run runs/first --pairs runs/pairs

Fits `calib.uncertainty` on the validation subjects' pairs and adds it to the model's record with the coverage that it reaches
on the test subjects' pairs, beside the other scores there.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from calib.uncertainty import Errors, fit, measure
from engines.body import BodyModel
from trainer.data import Pairs, load
from trainer.evaluate import HYPOTHESES, evaluate, moments
from trainer.export_onnx import load_run
from trainer.flow import DIM, PoseFlow
from trainer.kinematics import Skeleton, view_joints
from trainer.train import skeleton_of


@dataclass(frozen=True)
class CalibrateConfig:
    """What to calibrate, and on what."""

    run: Path = Path("runs/first")
    pairs: Path = Path("runs/pairs")
    record: Path = Path("engines/assets/flow.json")
    seed: int = 3


@torch.no_grad()
def errors_of(flow: PoseFlow, skeleton: Skeleton, pairs: Pairs, seed: int) -> Errors:
    """Run the flow on pairs and compare with their truth."""
    z = torch.randn(1, HYPOTHESES, DIM, generator=torch.Generator().manual_seed(seed))
    z[:, 0] = 0.0
    chunks = torch.arange(pairs.size).split(250)
    columns = zip(*(_errors(flow, skeleton, pairs.rows(index), z) for index in chunks), strict=True)
    error, cov, ray, visible, far, far_std = (np.concatenate(parts) for parts in columns)
    return Errors(error, cov, ray, visible.astype(bool), far, far_std)


def _errors(flow: PoseFlow, skeleton: Skeleton, batch: Pairs, z: torch.Tensor) -> tuple[np.ndarray, ...]:
    """What `calib.uncertainty.fit` asks for, in the view."""
    context = flow.encoder(batch.features)
    bodies, _ = flow.sample(context, z.expand(batch.size, -1, -1))
    joints = view_joints(skeleton, batch.R_anchor, batch.half, bodies)
    _, cov = moments(joints)
    ray = torch.nn.functional.normalize(joints[:, 0, 0], dim=-1)
    far = ((batch.joints[:, 0] - joints[:, 0, 0]) * ray).sum(-1)
    far_std = (joints[:, :, 0] * ray[:, None]).sum(-1).std(-1)
    error = batch.joints - far[:, None, None] * ray[:, None] - joints[:, 0]
    return tuple(part.double().numpy() for part in (error, cov, ray, batch.visible, far, far_std))


def main(config: CalibrateConfig) -> None:
    """Add the calibration and the test scores to the record."""
    flow, _ = load_run(config.run)
    body = BodyModel.load()
    skeleton = skeleton_of(body)
    val, test = (load(config.pairs / split, body) for split in ("val", "test"))
    data = f"{val.size} renders of CMU validation subjects through the landmark network"
    fitted = fit(errors_of(flow, skeleton, val, config.seed), data)
    fitted = measure(fitted, errors_of(flow, skeleton, test, config.seed))
    record = json.loads(config.record.read_text())
    record["calibration"] = fitted.to_json()
    record["test"] = dataclasses.asdict(evaluate(flow, skeleton, test))
    config.record.write_text(json.dumps(record, indent=2) + "\n")
    print(f"on {test.size} renders of test subjects the 90 % ellipsoids hold")
    print(f"{fitted.coverage_visible:.1%} of seen and {fitted.coverage_hidden:.1%} of hidden joints")
    print(json.dumps(record["test"], indent=2))


if __name__ == "__main__":
    main(tyro.cli(CalibrateConfig))
