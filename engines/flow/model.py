"""A trained flow on disk: the ONNX graph, and beside it the record (`.json`) of how it was made.

The record is a JSON object. The live system reads `format`, `sha256` (of the graph), `features`
(the encoding of landmarks that the graph takes; `landmarks_3d` where it is missing), `J_template`
(rest joints of the body that the flow was trained on, metres) and `calibration`; the rest says how
the flow was trained, for `trainer.import_onnx`.
"""

import errno
import hashlib
import json
import stat
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import FEATURE_NAMES, FeatureName
from engines.types import NUM_JOINTS
from engines.uncertainty import CovarianceCalibration

FORMAT = 3
"""Version of the record and of the graph's inputs and outputs: raise it when either changes."""
MAX_GRAPH_BYTES = 512 * 2**20
"""The shipped graph has 15 MB."""
MAX_RECORD_BYTES = 4 * 2**20
"""A record is some 30 kB; a larger file is none."""
SAME_BODY_M = 0.02
"""Mean distance of the rest joints up to which two bodies count as one, metres."""


@dataclass(frozen=True)
class FlowModel:
    """The graph and its record."""

    onnx: Path
    record: dict[str, Any]

    @staticmethod
    def load(path: Path | str | None = None) -> "FlowModel":
        """Read and check a model; the shipped one by default.

        Raises:
            PenumbraError: if the graph or its record is missing or unreadable, was written in
                another format, or the two do not belong together.
        """
        if path is None:
            with as_file(files("engines") / "assets" / "flow.onnx") as shipped:
                path = Path(shipped)
        path = Path(path)
        digest = _sha256(path)
        record = _read_record(path)
        if record.get("sha256") != digest:
            raise PenumbraError(
                f"model: {path} is not the graph that {path.stem}.json describes; export it again."
            )
        return FlowModel(path, record)

    @property
    def features(self) -> FeatureName:
        """Encoding of landmarks that the graph takes."""
        return self.record.get("features", "landmarks_3d")

    @property
    def J_template(self) -> Float[np.ndarray, "24 3"]:
        """Rest joints of the body that the flow was trained on, metres."""
        return np.array(self.record["J_template"], np.float64)

    @property
    def calibration(self) -> CovarianceCalibration | None:
        """Correction of the flow's spread; None if that was never measured.

        Raises:
            PenumbraError: if the record's calibration cannot be read.
        """
        stored = self.record.get("calibration")
        try:
            return CovarianceCalibration.from_json(stored) if stored else None
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            name = self.onnx.with_suffix(".json").name
            raise PenumbraError(
                f"model: {name} holds no readable calibration; run python -m calib.uncertainty "
                "again."
            ) from error

    def check_body(self, body: BodyModel) -> None:
        """Refuse a body that the flow was not trained on.

        Raises:
            PenumbraError: if the rest joints differ by more than `SAME_BODY_M` on average.
        """
        apart = _from_pelvis(body.J_template) - _from_pelvis(self.J_template)
        distance = np.linalg.norm(apart, axis=1).mean()
        if distance > SAME_BODY_M:
            raise PenumbraError(
                f"body: {self.onnx.name} was trained on another body than {body.name} (joints "
                f"{distance * 100:.1f} cm apart on average); choose the body that it was trained "
                "on, or train a flow for this body."
            )


def _sha256(graph: Path) -> str:
    try:
        if not stat.S_ISREG(graph.stat().st_mode) or graph.stat().st_size > MAX_GRAPH_BYTES:
            raise PenumbraError(
                f"model: {graph} is no file of at most {MAX_GRAPH_BYTES} bytes; name an exported "
                "flow."
            )
        return hashlib.sha256(graph.read_bytes()).hexdigest()
    except OSError as error:
        raise PenumbraError(
            f"model: cannot read {graph} ({error.strerror}); name an exported flow."
        ) from error


def _read_record(graph: Path) -> dict[str, Any]:
    """Read the record beside `graph`, and check what every reader needs."""
    path = graph.with_suffix(".json")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            raise OSError(errno.EINVAL, "no regular file")
        with path.open("rb") as file:
            text = file.read(MAX_RECORD_BYTES + 1)
    except OSError as error:
        raise PenumbraError(
            f"model: {graph} needs its record {path.name} ({error.strerror}); keep both together."
        ) from error
    try:
        if len(text) > MAX_RECORD_BYTES:
            raise ValueError(f"more than {MAX_RECORD_BYTES} bytes")
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PenumbraError(
            f"model: {graph} needs its record {path.name}, which is no JSON ({error}); export the "
            "flow again."
        ) from error
    found = record.get("format", 1) if isinstance(record, dict) else None
    if found != FORMAT:
        raise PenumbraError(
            f"model: {path} has format {found!r:.40} and this program reads {FORMAT}; export the "
            "flow again."
        )
    features = record.get("features", "landmarks_3d")
    if features not in FEATURE_NAMES:
        raise PenumbraError(
            f"model: {path} names the features {features!r:.40}, which this program does not have; "
            "export the flow again."
        )
    _check_joints(path, record.get("J_template"))
    return record


def _check_joints(path: Path, J_template: Any) -> None:
    try:
        joints = np.array(J_template, np.float64)
    except (TypeError, ValueError, OverflowError):
        joints = np.empty(0)
    if joints.shape != (NUM_JOINTS, 3) or not np.isfinite(joints).all():
        raise PenumbraError(
            f"model: J_template of {path} is not {NUM_JOINTS} finite points; export the flow again."
        )


def _from_pelvis(joints: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
    return joints - joints[0]
