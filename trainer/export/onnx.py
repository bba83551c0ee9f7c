"""A trained flow as an ONNX graph, checked against torch, with its record.

The graph takes `features` (1, F) and the noise `z` (K, D), K open, and returns `rotvec` (K, 24, 3),
`betas` (K, 10), `camera` (K, 3), `log_q` (K,) and `visible` (24,); that of an `AnchoredFlow`
returns `anchor` (3, 3) as well. The noise is an input, so the same `z` gives the same bodies on
every engine, and neighbouring frames give neighbouring bodies.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import FeatureName, num_features
from engines.flow.model import FORMAT
from engines.telemetry import no_telemetry
from trainer.live.folder import is_live, load_live_config, load_live_method
from trainer.methods.mhentropy import MHEntropy
from trainer.model.anchored_flow import AnchoredContext, AnchoredFlow
from trainer.model.flow import DIM, PoseFlow
from trainer.runs.folder import load_config, load_method

with no_telemetry():
    import onnxruntime

INPUTS = ("features", "z")
PER_HYPOTHESIS = ("rotvec", "betas", "camera", "log_q")
OUTPUTS = (*PER_HYPOTHESIS, "visible")
TOLERANCE = 2e-4
"""Largest difference between torch and ONNX Runtime that is put down to float32: rad, metres, or
hundreds of nats.
"""
_SCALE = {"log_q": 100.0}


class SingleImageFlow(nn.Module):
    """The flow for one image and K noise vectors."""

    def __init__(self, flow: PoseFlow | AnchoredFlow) -> None:
        super().__init__()
        self.flow = flow
        self.outputs = (*OUTPUTS, "anchor") if isinstance(flow, AnchoredFlow) else OUTPUTS

    def forward(
        self, features: Float[Tensor, "1 F"], z: Float[Tensor, "K D"]
    ) -> tuple[Tensor, ...]:
        """Return the graph's outputs; the module's docstring has their shapes."""
        context = self.flow.encode(features)
        bodies, log_q = self.flow.sample(context, z[None])  # pyright: ignore[reportArgumentType]
        visible = torch.sigmoid(context.visible_logits)[0]
        outputs = bodies.rotvec[0], bodies.betas[0], bodies.camera[0], log_q[0], visible
        return (*outputs, context.R_anchor[0]) if isinstance(context, AnchoredContext) else outputs


def feature_name(flow: PoseFlow | AnchoredFlow) -> FeatureName:
    """Return which encoding of landmarks a flow takes."""
    return "landmarks_2d" if isinstance(flow, AnchoredFlow) else "landmarks_3d"


def load_flow(run: Path) -> PoseFlow | AnchoredFlow:
    """Load the averaged weights of a run.

    Raises:
        PenumbraError: if the run trained another method, or learnt from exact landmarks.
    """
    if is_live(run):
        return load_live_method(run).flow
    if load_config(run).landmark_source == "exact":
        raise PenumbraError(
            f"run: {run} learnt from exact landmarks, which no live system has; name another run."
        )
    method = load_method(run)
    if not isinstance(method, MHEntropy):
        raise PenumbraError(
            f"run: {run} trained {type(method).__name__}, and the live system runs mhentropy only; "
            "name another run."
        )
    return method.flow


def load_body(run: Path) -> BodyModel:
    """Load the body that a run's flow was trained on."""
    config = load_live_config(run) if is_live(run) else load_config(run)
    return BodyModel.load(config.body)


def write_model(
    flow: PoseFlow | AnchoredFlow, out: Path, body: BodyModel, facts: dict[str, Any]
) -> float:
    """Write graph and record. What was at `out` stays until the new graph is found to be right.

    Args:
        flow: in evaluation mode.
        out: graph to write; the record goes beside it.
        body: that the flow was trained on.
        facts: of its making, for the record.

    Returns:
        As `export`.

    Raises:
        RuntimeError: if the graph differs from torch.
    """
    partial = out.with_suffix(".partial.onnx")
    try:
        worst = export(flow, partial)
        record = {
            "format": FORMAT,
            "file": out.name,
            "sha256": hashlib.sha256(partial.read_bytes()).hexdigest(),
            "features": feature_name(flow),
            "J_template": body.J_template.tolist(),
            **without_folders(facts),
            "onnx_difference": worst,
        }
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    return worst


def without_folders(facts: Any) -> Any:
    """Replace absolute paths by their last part: where files lay is nobody else's business."""
    if isinstance(facts, dict):
        return {key: without_folders(value) for key, value in facts.items()}
    if isinstance(facts, list):
        return [without_folders(value) for value in facts]
    is_path = isinstance(facts, str) and Path(facts).is_absolute()
    return Path(facts).name if is_path else facts


def export(flow: PoseFlow | AnchoredFlow, out: Path) -> float:
    """Write the graph and compare it with torch on random input.

    Returns:
        The largest difference, in the units of `TOLERANCE`.

    Raises:
        RuntimeError: if the difference is more than rounding.
    """
    torch.manual_seed(0)
    module = SingleImageFlow(flow).eval()
    features = torch.randn(1, num_features(feature_name(flow)))
    torch.onnx.export(
        module,
        (features, torch.randn(5, DIM)),
        str(out),
        input_names=list(INPUTS),
        output_names=list(module.outputs),
        dynamic_axes={"z": {0: "K"}, **{name: {0: "K"} for name in PER_HYPOTHESIS}},
        opset_version=17,
        dynamo=False,
    )
    worst = _difference(module, out, features, torch.randn(64, DIM))
    if worst > TOLERANCE:
        raise RuntimeError(f"{out} differs from torch by {worst:.2e}.")
    return worst


@torch.no_grad()
def _difference(module: SingleImageFlow, graph: Path, features: Tensor, z: Tensor) -> float:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    actual = session.run(None, {"features": features.numpy(), "z": z.numpy()})
    return max(
        float(np.abs(got - expected.numpy()).max()) / _SCALE.get(name, 1.0)
        for name, got, expected in zip(module.outputs, actual, module(features, z), strict=True)
    )
