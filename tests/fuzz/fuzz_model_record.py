"""The record beside a flow."""

import json
import tempfile
from pathlib import Path

import numpy as np

from engines.errors import PenumbraError
from engines.flow.model import FlowModel

MAX_MB = 128

_graph = Path(tempfile.mkdtemp()) / "flow.onnx"
_graph.write_bytes(b"graph")
_SHA256 = "3cacce1e0e2d1fbbd9c7ba0cc4cd7b0ca4dfb0e4c8f1a4c3c8b3f7f0f1f3d4e5"


def seeds() -> list[bytes]:
    """The shipped record without its history, and a small one."""
    record = FlowModel.load().record
    short = {key: record[key] for key in ("format", "sha256", "J_template", "calibration")}
    return [json.dumps(facts).encode() for facts in (short, short | {"calibration": None})]


def read(data: bytes) -> None:
    """Load, and use what was loaded."""
    _graph.with_suffix(".json").write_bytes(data)
    try:
        model = FlowModel.load(_graph)
        assert np.isfinite(model.J_template).all()
        calibration = model.calibration
    except PenumbraError:
        return
    if calibration is not None:
        assert np.isfinite(calibration.to_json()["distance"])
