"""The imported networks against the TFLite runtime, which shares nothing with the importer."""

import contextlib
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.blazepose import models
from engines.blazepose.pixel_input import take_pixels
from engines.blazepose.tflite_file import MAX_FILE_BYTES
from engines.blazepose.tflite_import import import_tflite
from engines.errors import PenumbraError
from tests.support.paths import ROOT, SHARED
from tests.support.tiny_tflite import constant, convolution, network, schema

VIDEO = SHARED / "data" / "video" / "bodypose3d_walk_sit_stand.mp4"
PHOTOS = SHARED / "data" / "photos"
DETECTOR_OUTPUTS = {0: "boxes", 1: "scores"}
LANDMARKER_OUTPUTS = {0: "landmarks", 1: "score", 2: "silhouette", 3: "heatmap", 4: "world"}


class BothRuntimes:
    """The same network in the TFLite runtime and, translated, in ONNX Runtime."""

    def __init__(self, network: models.Network, outputs: dict[int, str], cache: Path) -> None:
        litert = pytest.importorskip(
            "ai_edge_litert.interpreter", reason="the TFLite runtime is not installed"
        )
        onnxruntime = pytest.importorskip("onnxruntime")
        path = models.tflite_path(network)
        self.outputs = outputs
        self.interpreter = litert.Interpreter(str(path))
        self.interpreter.allocate_tensors()
        translated = models.import_once(path, outputs, cache=cache)
        self.session = onnxruntime.InferenceSession(
            str(translated), providers=["CPUExecutionProvider"]
        )

    def __call__(self, image: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return each output for an RGB image (S, S, 3): the TFLite runtime's and ours."""
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], image[None])
        self.interpreter.invoke()
        details = self.interpreter.get_output_details()
        planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        ours = self.session.run(list(self.outputs.values()), {"image": planes})
        names = enumerate(self.outputs.items())
        return {
            name: (self.interpreter.get_tensor(details[i]["index"]), ours[n])
            for n, (i, name) in names
        }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def landmarker(cache: Path) -> BothRuntimes:
    return BothRuntimes(models.LANDMARKER, LANDMARKER_OUTPUTS, cache)


@pytest.fixture(scope="module")
def detector(cache: Path) -> BothRuntimes:
    return BothRuntimes(models.DETECTOR, DETECTOR_OUTPUTS, cache)


def random_images(side: int) -> list[np.ndarray]:
    """Noise at every scale, RGB in [0, 1]."""
    rng = np.random.default_rng(0)
    coarse = [rng.random((size, size, 3), np.float32) for size in (4, 16, 64, side)]
    return [cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR) for image in coarse]


def real_images(side: int) -> list[np.ndarray]:
    """Photos and frames of a video, RGB in [0, 1]."""
    if not (PHOTOS.is_dir() and VIDEO.is_file()):
        pytest.skip(f"no images in {SHARED}")
    images = [cv2.imread(str(path)) for path in sorted(PHOTOS.glob("*.jpg"))]
    video = cv2.VideoCapture(str(VIDEO))
    for frame in range(0, 180, 30):
        video.set(cv2.CAP_PROP_POS_FRAMES, frame)
        images.append(video.read()[1])
    return [cv2.resize(image, (side, side))[..., ::-1].astype(np.float32) / 255 for image in images]


def assert_landmarker_agrees(both: BothRuntimes, images: list[np.ndarray]) -> None:
    """Landmarks agree within 0.01 px, the rest within 1e-4 of its range, with one exception.

    The silhouette's logits run to thousands and amplify rounding at single pixels. The translation
    is within 1e-4 of float64 at all of them, the TFLite runtime itself is off by up to 6e-4: one
    pixel in a hundred may differ by more.
    """
    for image in images:
        outputs = both(image)
        theirs, ours = outputs.pop("landmarks")
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(
            ours, theirs, atol=0.01, rtol=0
        )  # px of the crop; logits where it says so
        for name, (theirs, ours) in outputs.items():
            assert ours.shape == theirs.shape
            extent = 1.0 if name == "score" else np.ptp(theirs)
            error = np.abs(ours - theirs) / extent
            assert np.quantile(error, 0.99 if name == "silhouette" else 1.0) <= 1e-4, name
            assert error.max() <= 2e-3, name


def test_landmarker_agrees_on_noise(landmarker: BothRuntimes) -> None:
    assert_landmarker_agrees(landmarker, random_images(256))


def test_landmarker_agrees_on_real_images(landmarker: BothRuntimes) -> None:
    assert_landmarker_agrees(landmarker, real_images(256))


@pytest.mark.parametrize("source", [random_images, real_images])
def test_detector_agrees(detector: BothRuntimes, source: Any) -> None:
    for image in source(224):
        for name, (theirs, ours) in detector(image * 2 - 1).items():
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(
                ours, theirs, atol=1e-4 * np.ptp(theirs), rtol=0, err_msg=name
            )


def test_the_runtime_model_leaves_out_the_silhouette(cache: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = models.tflite_path(models.LANDMARKER)
    whole = onnx.load(models.import_once(path, LANDMARKER_OUTPUTS, cache=cache))
    lean = onnx.load(models.import_once(path, models.LANDMARKER.outputs, cache=cache))
    assert [output.name for output in lean.graph.output] == [
        "landmarks",
        "score",
        "heatmap",
        "world",
    ]
    assert len(lean.graph.node) < len(whole.graph.node)


def test_a_network_takes_an_image_as_bytes(tmp_path: Path) -> None:
    """Blue, green, red in, and planes of red, green, blue come to the network, stretched."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    shape = [1, 3, 4, 5]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("image", "same")
    ]
    node = onnx.helper.make_node("Identity", ["image"], ["same"])
    graph = onnx.helper.make_graph([node], "identity", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 17)
    for low, expected in ((0.0, [0.2, 0.4, 1.0]), (-1.0, [-0.6, -0.2, 1.0])):
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
        take_pixels(model, low, 1.0)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        image = np.zeros((1, 4, 5, 3), np.uint8)
        image[0, 1, 2] = 255, 102, 51
        (planes,) = session.run(["same"], {"image": image})
        np.testing.assert_allclose(planes[0, :, 1, 2], expected, rtol=1e-6)
        np.testing.assert_allclose(planes[0, :, 2, 1], low, atol=1e-7)
    with pytest.raises(PenumbraError, match="takes no image"):
        take_pixels(model, 0.0, 1.0)


# Refusals


def import_tiny(data: bytes) -> Any:
    return import_tflite(data, {0: "image_out"})


def test_a_covered_operator_is_accepted() -> None:
    kinds = [node.op_type for node in import_tiny(network("LOGISTIC")).graph.node]
    assert kinds == ["Sigmoid", "Transpose"]


@pytest.mark.parametrize("operator", ["TANH", "HARD_SWISH", "TRANSPOSE_CONV", "BATCH_MATMUL"])
def test_an_unknown_operator_is_refused_by_its_number(operator: str) -> None:
    number = getattr(schema().BuiltinOperator, operator)
    with pytest.raises(PenumbraError, match=f"has the operator {number}, which is not supported"):
        import_tiny(network(operator))


def test_an_unknown_option_is_refused() -> None:
    pool = schema().Pool2DOptionsT()
    pool.strideW = pool.strideH = pool.filterWidth = pool.filterHeight = 1
    pool.fusedActivationFunction = schema().ActivationFunctionType.TANH
    with pytest.raises(PenumbraError, match="MAX_POOL_2D has fused activation 4, which"):
        import_tiny(network("MAX_POOL_2D", pool, schema().BuiltinOptions.Pool2DOptions))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 64])
def test_what_is_not_tflite_is_refused(data: bytes) -> None:
    with pytest.raises(PenumbraError, match="not a TFLite file"):
        import_tiny(data)


def test_a_truncated_network_is_refused() -> None:
    data = models.tflite_path(models.DETECTOR).read_bytes()
    for length in (8, 9, 100, len(data) // 2, len(data) - 100):
        with pytest.raises(PenumbraError, match="is damaged"):
            import_tflite(data[:length], DETECTOR_OUTPUTS)


def test_flipped_bytes_are_refused_or_harmless() -> None:
    rng, good = np.random.default_rng(0), convolution()
    for _ in range(2000):
        data = bytearray(good)
        for position in rng.integers(8, len(data), rng.integers(1, 4)):
            data[position] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
        with contextlib.suppress(PenumbraError):
            import_tiny(bytes(data))


MANY = 200_000


def vector_of_aliases() -> bytes:
    """A file whose graphs, tensors and shapes are all the same long vector of zeros.

    Read naively, its tables nest: 200,000 graphs of 200,000 tensors each.
    """
    vtable = struct.pack("<7H", 14, 4, 0, 0, 4, 4, 4)  # every vector is the field at 4
    start = 8 + len(vtable) + 2  # aligned
    table = struct.pack("<iI", start - 8, 4)
    count = struct.pack("<I", MANY)
    position = start + 8 + 4
    entries = np.arange(position, position + 4 * MANY, 4, dtype=np.int64)
    back = ((start - entries) % 2**32).astype("<u4").tobytes()  # each entry leads to the table
    return struct.pack("<I", start) + b"TFL3" + vtable + b"\0\0" + table + count + back


def test_a_file_that_would_grow_without_bound_is_refused_at_once() -> None:
    began = time.perf_counter()
    with pytest.raises(PenumbraError, match="is damaged"):
        import_tiny(vector_of_aliases())
    with pytest.raises(PenumbraError, match=f"more than {MAX_FILE_BYTES} bytes"):
        import_tiny(b"\0\0\0\0TFL3" + bytes(MAX_FILE_BYTES))
    assert time.perf_counter() - began < 2.0


def test_a_constant_that_claims_to_be_huge_is_refused() -> None:
    weights = [1 << 20, 1 << 10, 3, 2], schema().TensorType.FLOAT32, b"\0" * 64
    options = schema().Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    bias = constant(np.zeros(3, np.float32))
    kind = schema().BuiltinOptions.Conv2DOptions
    with pytest.raises(PenumbraError, match="constants take more than"):
        import_tiny(network("CONV_2D", options, kind, (weights, bias)))


@pytest.mark.parametrize("stride", [0, -1])
def test_an_empty_stride_is_refused(stride: int) -> None:
    pool = schema().Pool2DOptionsT()
    pool.strideW = pool.strideH = stride
    pool.filterWidth = pool.filterHeight = 1
    with pytest.raises(PenumbraError, match="an empty window or stride"):
        import_tiny(network("MAX_POOL_2D", pool, schema().BuiltinOptions.Pool2DOptions))


# The cache


def test_the_cache_is_keyed_by_the_files_hash(tmp_path: Path) -> None:
    original = models.tflite_path(models.DETECTOR)
    copy, changed = tmp_path / "copy" / original.name, tmp_path / "changed" / original.name
    for path, tail in ((copy, b""), (changed, b"\x00")):
        path.parent.mkdir()
        path.write_bytes(
            original.read_bytes() + tail
        )  # Bytes after the end are allowed and mean nothing.
    first = models.import_once(original, DETECTOR_OUTPUTS, cache=tmp_path)
    written = first.stat().st_mtime_ns
    assert models.import_once(copy, DETECTOR_OUTPUTS, cache=tmp_path) == first
    assert first.stat().st_mtime_ns == written
    second = models.import_once(changed, DETECTOR_OUTPUTS, cache=tmp_path)
    assert second != first
    assert second.read_bytes() == first.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PenumbraError, match="PENUMBRA_CACHE"):
        models.import_once(
            models.tflite_path(models.DETECTOR), DETECTOR_OUTPUTS, cache=tmp_path / "file" / "cache"
        )


def test_a_missing_mediapipe_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PenumbraError, match="pip install mediapipe"):
        models.detector_model()


@pytest.mark.parametrize("use", ["first", "second"])
def test_importing_brings_neither_mediapipe_nor_torch(use: str, cache: Path) -> None:
    """And from the second use on it does without onnx, which is slow to import."""
    folder = cache / "fresh"
    code = (
        "import sys; from engines.blazepose.models import *; detector_model(); print(*sys.modules)"
    )
    environment = {**os.environ, "PENUMBRA_CACHE": str(folder)}
    root = ROOT
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    loaded = set(answer.stdout.split())
    assert not loaded & {"mediapipe", "torch"}
    assert ("onnx" in loaded) == (use == "first")
