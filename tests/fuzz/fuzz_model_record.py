"""The record beside a flow."""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

from engines.circumstances import Circumstances
from engines.errors import PenumbraError
from engines.flow.model import FlowModel

MAX_MB = 128

_graph = Path(tempfile.mkdtemp()) / "flow.onnx"
_graph.write_bytes(b"graph")
_SHA256 = hashlib.sha256(b"graph").hexdigest()


def seeds() -> list[bytes]:
    """The shipped record without its history, and a small one."""
    record = FlowModel.load().record | {"sha256": _SHA256}
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
        raw, p_visible = np.eye(3) * np.ones((24, 1, 1)), np.ones(24)
        image = Circumstances.of(raw, p_visible, -60.0, 0.5, True)
        cov = calibration.apply(raw, np.eye(3)[2], p_visible, image)
        assert np.isfinite(cov).all() and np.isfinite(calibration.apply_to_distance(0.1, image))
