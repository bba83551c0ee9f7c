"""Write a trained flow as the ONNX file that the live system runs, with the record of how it was
made.

    python -m trainer.export_onnx --run runs/first

The graph takes `features` (1, F) and the noise `z` (K, D), K open, and returns `rotvec`
(K, 24, 3), `betas` (K, 10), `camera` (K, 3), `log_q` (K,) and
`visible` (24,). The noise is an input, so the same `z` gives the same bodies on every engine, and
neighbouring frames give neighbouring bodies.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import NUM_FEATURES
from engines.flow.model import FORMAT
from trainer.command import start
from trainer.methods.mhentropy import MHEntropy
from trainer.model.flow import DIM, PoseFlow
from trainer.runs.folder import load_config, load_method, load_scores

INPUTS = ("features", "z")
OUTPUTS = ("rotvec", "betas", "camera", "log_q", "visible")
TOLERANCE = 2e-4
"""Largest difference between torch and ONNX Runtime that is put down to float32, in rad, m or nats
per 100.
"""


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to."""

    run: Path = Path("runs/first")
    out: Path = Path("engines/assets/flow.onnx")


class OnePicture(nn.Module):
    """The flow for one picture and K noise vectors."""

    def __init__(self, flow: PoseFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, features: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """See the module's docstring for names and shapes."""
        context = self.flow.encode(features)
        bodies, log_q = self.flow.sample(context, z[None])
        visible = torch.sigmoid(context.visible_logits)[0]
        return bodies.rotvec[0], bodies.betas[0], bodies.camera[0], log_q[0], visible


def load_flow(run: Path) -> PoseFlow:
    """The averaged weights of a run.

    Raises:
        PenumbraError: if it was another method's, or has never seen what a landmark network says.
    """
    if load_config(run).landmark_source == "exact":
        raise PenumbraError(f"--run: {run} learnt from exact landmarks, which no live system has.")
    method = load_method(run)
    if not isinstance(method, MHEntropy):
        raise PenumbraError(
            f"--run: {run} trained {type(method).__name__}; the live system runs mhentropy only."
        )
    return method.flow


def export(flow: PoseFlow, out: Path) -> float:
    """Write the graph and return the largest difference between it and torch on random input.

    Raises:
        RuntimeError: if that is more than rounding.
    """
    torch.manual_seed(0)
    features = torch.randn(1, NUM_FEATURES)
    z = torch.randn(5, DIM)
    module = OnePicture(flow).eval()
    names = {"input_names": list(INPUTS), "output_names": list(OUTPUTS)}
    open_axes = {"z": {0: "K"}, **{name: {0: "K"} for name in OUTPUTS[:-1]}}
    torch.onnx.export(
        module,
        (features, z),
        str(out),
        dynamic_axes=open_axes,
        opset_version=17,
        dynamo=False,
        **names,
    )
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    z = torch.randn(64, DIM)
    with torch.no_grad():
        expected = module(features, z)
    actual = session.run(None, {"features": features.numpy(), "z": z.numpy()})
    scale = {"log_q": 100.0}
    worst = max(
        float(np.abs(a - e.numpy()).max()) / scale.get(name, 1.0)
        for name, a, e in zip(OUTPUTS, actual, expected, strict=True)
    )
    if worst > TOLERANCE:
        raise RuntimeError(f"{out} differs from torch by {worst:.2e}.")
    return worst


def lineage(run: Path) -> dict[str, Any]:
    """How a run was made, and the run whose weights it started from, if that is still there."""
    facts = json.loads((run / "config.json").read_text())
    start = facts["starts"][0]["config"].get("start")
    if start is not None and (Path(start) / "config.json").exists():
        facts["started_from"] = lineage(Path(start))
    return facts


def main(config: ExportConfig) -> None:
    """Export and record. What was at `out` stays until the new graph has been found to be right.

    Raises:
        PenumbraError: if there is no run that has come to its end, or not one of the live system's
            method.
        RuntimeError: if the graph differs from torch.
    """
    flow, scores = load_flow(config.run), load_scores(config.run)
    partial = config.out.with_suffix(".partial.onnx")
    try:
        worst = export(flow, partial)
        record = {
            "format": FORMAT,
            "file": config.out.name,
            "sha256": hashlib.sha256(partial.read_bytes()).hexdigest(),
            "J_template": BodyModel.load(load_config(config.run).body).J_template.tolist(),
            "trained": lineage(config.run),
            "validation": scores,
            "onnx_difference": worst,
        }
        partial.replace(config.out)
    finally:
        partial.unlink(missing_ok=True)
    config.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(
        f"{config.out}: {config.out.stat().st_size / 2**20:.1f} MiB, differs from torch by at most {worst:.1e}"
    )


if __name__ == "__main__":
    start(main, ExportConfig)
