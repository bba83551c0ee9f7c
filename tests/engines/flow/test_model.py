"""Models that are damaged, of another format or of another body are refused with a sentence."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.body import BodyModel
from engines.circumstances import ImageFactor
from engines.errors import PenumbraError
from engines.flow.model import FORMAT, MAX_GRAPH_BYTES, MAX_RECORD_BYTES, FlowModel
from engines.uncertainty import CovarianceCalibration


@pytest.fixture(scope="module")
def model() -> FlowModel:
    return FlowModel.load()


def stored(folder: Path, model: FlowModel, **changes: Any) -> Path:
    """A copy of the model whose record is changed."""
    graph = folder / "flow.onnx"
    graph.write_bytes(model.onnx.read_bytes())
    record = {key: value for key, value in (model.record | changes).items() if value is not None}
    graph.with_suffix(".json").write_text(json.dumps(record))
    return graph


def test_another_body_is_refused(body: BodyModel, model: FlowModel) -> None:
    child = replace(body, name="child", J_template=0.8 * body.J_template)
    with pytest.raises(PenumbraError, match=r"flow\.onnx was trained on another body than child"):
        model.check_body(child)
    moved = replace(body, J_template=body.J_template + np.float32(1.0))
    model.check_body(moved)  # it differs in its origin only


def test_a_graph_and_a_record_that_do_not_belong_together_are_refused(
    model: FlowModel, tmp_path: Path
) -> None:
    graph = stored(tmp_path, model)
    assert FlowModel.load(graph).record == model.record
    graph.write_bytes(model.onnx.read_bytes() + b"\0")
    with pytest.raises(PenumbraError, match="is not the graph that"):
        FlowModel.load(graph)
    graph.with_suffix(".json").unlink()
    with pytest.raises(PenumbraError, match=r"needs its record flow\.json"):
        FlowModel.load(str(graph))
    graph.unlink()
    with pytest.raises(PenumbraError, match=r"model: cannot read .*flow\.onnx \(No such file"):
        FlowModel.load(graph)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b" " * (MAX_RECORD_BYTES + 1),
        b'{"format": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "no json", "no text", "deep", "long", "a long number"],
)
def test_a_damaged_record_is_refused(model: FlowModel, tmp_path: Path, text: bytes) -> None:
    graph = stored(tmp_path, model)
    graph.with_suffix(".json").write_bytes(text)
    with pytest.raises(PenumbraError, match=r"model: .*is no JSON.*; export"):
        FlowModel.load(graph)


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_what_is_no_file_is_refused(model: FlowModel, tmp_path: Path, suffix: str) -> None:
    graph = stored(tmp_path, model)
    graph.with_suffix(suffix).unlink()
    os.mkfifo(graph.with_suffix(suffix))
    with pytest.raises(PenumbraError, match=r"no (regular )?file"):
        FlowModel.load(graph)
    graph.with_suffix(suffix).unlink()
    graph.with_suffix(suffix).mkdir()
    with pytest.raises(PenumbraError, match=r"no (regular )?file"):
        FlowModel.load(graph)


def test_a_graph_of_enormous_size_is_refused(model: FlowModel, tmp_path: Path) -> None:
    graph = stored(tmp_path, model)
    os.truncate(graph, MAX_GRAPH_BYTES + 1)
    with pytest.raises(PenumbraError, match=f"no file of at most {MAX_GRAPH_BYTES} bytes"):
        FlowModel.load(graph)


@pytest.mark.parametrize("found", [None, 1, FORMAT + 1, "2", [FORMAT]])
def test_another_format_is_refused(model: FlowModel, tmp_path: Path, found: Any) -> None:
    with pytest.raises(PenumbraError, match=f"and this program reads {FORMAT}; export"):
        FlowModel.load(stored(tmp_path, model, format=found))


@pytest.mark.parametrize("text", ["[]", "3", "null", '"flow"'])
def test_a_record_that_is_no_object_is_refused(model: FlowModel, tmp_path: Path, text: str) -> None:
    graph = stored(tmp_path, model)
    graph.with_suffix(".json").write_text(text)
    with pytest.raises(PenumbraError, match=f"and this program reads {FORMAT}; export"):
        FlowModel.load(graph)


def test_features_are_3d_where_the_record_does_not_say(model: FlowModel, tmp_path: Path) -> None:
    assert FlowModel.load(stored(tmp_path, model, features=None)).features == "landmarks_3d"
    named = FlowModel.load(stored(tmp_path, model, features="landmarks_2d"))
    assert named.features == "landmarks_2d"


@pytest.mark.parametrize("features", ["landmarks", 3, ["landmarks_2d"], {"a": 1}])
def test_unknown_features_are_refused(model: FlowModel, tmp_path: Path, features: Any) -> None:
    with pytest.raises(PenumbraError, match=r"names the features .* this program does not have"):
        FlowModel.load(stored(tmp_path, model, features=features))


NAN = [[float("nan")] * 3] * 24
HUGE = 10**400
"""A JSON number that no float can hold."""


@pytest.mark.parametrize(
    "joints",
    [
        None,
        NAN,
        [[1e999] * 3] * 24,
        [[HUGE] * 3] * 24,
        [[0.0] * 3] * 23,
        [0.0] * 72,
        [[0.0], 1],
        "joints",
        {"a": 1},
    ],
)
def test_joints_that_are_no_points_are_refused(
    model: FlowModel, tmp_path: Path, joints: Any
) -> None:
    with pytest.raises(PenumbraError, match=r"model: J_template of .* is not 24 finite points"):
        FlowModel.load(stored(tmp_path, model, J_template=joints))


def test_calibration_comes_from_the_record(model: FlowModel) -> None:
    assert replace(model, record={}).calibration is None
    radii = np.array([[0.5, 2.0, 2.1], [0.9, 6.2, 6.3]])
    zeros = (0.0, 0.0, 0.0, 0.0)
    factor = ImageFactor((0.1, 0.0, 0.2, 0.0), zeros, zeros, (1.0, 1.0, 1.0, 1.0), 0.3)
    written = CovarianceCalibration(
        np.full((24, 2), 1.1), np.full((24, 2), 2.2), factor, 1.5, radii, "here"
    )
    read = replace(model, record={"calibration": written.to_json()}).calibration
    assert read is not None and read.to_json() == written.to_json()


@pytest.mark.parametrize(
    "value", [float("nan"), 1e999, -1.0, 0.0, "x", None, 1e300, pytest.param(HUGE, id="huge")]
)
@pytest.mark.parametrize("name", ["distance", "visible", "occluded", "image_factor", "radii"])
def test_a_calibration_of_impossible_numbers_is_refused(
    model: FlowModel, name: str, value: Any
) -> None:
    written = dict(model.record["calibration"])
    whole = {"visible": (24, 2), "occluded": (24, 2), "radii": (3, 3)}
    if name in whole:
        written[name] = np.full(whole[name], value, object).tolist()
    elif name == "distance":
        written[name] = value
    else:
        written[name] = {**written[name], "heavy": value if value not in (0.0, -1.0) else 99.0}
    with pytest.raises(PenumbraError, match="holds no readable calibration"):
        _ = replace(model, record={"calibration": written}).calibration


@pytest.mark.parametrize("written", [1, "x", [1], {"visible": 1}])
def test_a_damaged_calibration_is_refused(model: FlowModel, written: Any) -> None:
    with pytest.raises(PenumbraError, match="holds no readable calibration"):
        _ = replace(model, record={"calibration": written}).calibration
