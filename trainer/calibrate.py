"""Measure how far an exported flow's spread can be trusted, on people it was not trained on, and store the correction.

    python -m trainer.calibrate --run runs/first --pairs runs/pairs

Fits `calib.uncertainty` on one half of the validation subjects' pairs and adds it to the model's record with the coverage
that it reaches on the other half. The test split stays untouched for the scores that are reported.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from calib.uncertainty import Calibration, fit
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
def calibrate(flow: PoseFlow, skeleton: Skeleton, pairs: Pairs, data: str, seed: int) -> Calibration:
    """Fit on pairs in random order."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(1, HYPOTHESES, DIM, generator=generator)
    z[:, 0] = 0.0
    order = torch.randperm(pairs.size, generator=generator)
    columns = [_errors(flow, skeleton, pairs.rows(index), z) for index in order.split(250)]
    error, cov, ray, visible, far, far_std = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return fit(error, cov, ray, visible.astype(bool), far, far_std, data)


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
    val = load(config.pairs / "val", body)
    data = f"{val.size} renders of CMU validation subjects through the landmark network"
    fitted = calibrate(flow, skeleton, val, data, config.seed)
    record = json.loads(config.record.read_text())
    record["calibration"] = fitted.to_json()
    record["test"] = dataclasses.asdict(evaluate(flow, skeleton, load(config.pairs / "test", body)))
    config.record.write_text(json.dumps(record, indent=2) + "\n")
    print(
        f"90 % ellipsoids hold {fitted.coverage_visible:.1%} of seen and {fitted.coverage_hidden:.1%} of hidden joints"
    )
    print(json.dumps(record["test"], indent=2))


if __name__ == "__main__":
    main(tyro.cli(CalibrateConfig))
