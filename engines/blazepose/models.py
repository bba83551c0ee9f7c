"""BlazePose's networks: TFLite files, translated to ONNX once and cached.

They are in mediapipe's wheel, but for the heavy landmark network (`engines.blazepose.heavy`).
mediapipe is never imported, which would take seconds. Its files are found in the package's folder,
read, and translated by `engines.blazepose.tflite_import`. A file in the cache (`engines.cache`) is
named after the SHA-256 of the TFLite file and of how it is translated, so a new wheel or a new
importer makes a new one.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.blazepose.heavy import heavy_tflite
from engines.cache import cache_folder, load, store
from engines.errors import PenumbraError
from engines.types import LandmarkNetwork

IMPORTER_VERSION = 2
"""Raise it when `tflite_import` or the outputs below change what they write."""
MIN_SCORE = 0.5
"""Score from which on either network's person counts as found, as in MediaPipe."""
_INSTALL = "pip install mediapipe==0.10.21."


@dataclass(frozen=True)
class Network:
    """One network in mediapipe's wheel."""

    file: str
    """Path inside the mediapipe package."""
    outputs: Mapping[int, str]
    """Position of an output in the file to its name in the ONNX graph; what is not listed is left
    out.
    """
    pixels: tuple[float, float]
    """What the network was trained to take for a byte of 0 and of 255."""


DETECTOR = Network(
    "modules/pose_detection/pose_detection.tflite",
    {0: "boxes", 1: "scores"},  # (1, 2254, 12), (1, 2254, 1)
    (-1.0, 1.0),
)
LANDMARKER = Network(
    "modules/pose_landmark/pose_landmark_full.tflite",
    # Output 2, the person's silhouette, costs a quarter of the time and is not used.
    {
        0: "landmarks",
        1: "score",
        3: "heatmap",
        4: "world",
    },  # (1, 195), (1, 1), (1, 64, 64, 39), (1, 117)
    (0.0, 1.0),
)


def detector_model() -> Path:
    """Return the pose detector as ONNX: `image` (1, 224, 224, 3) BGR bytes to two outputs."""
    return import_once(tflite_path(DETECTOR), DETECTOR.outputs, DETECTOR.pixels)


def landmarker_model(network: LandmarkNetwork = "full") -> Path:
    """Return a landmarker as ONNX: `image` (1, 256, 256, 3) BGR bytes to four outputs.

    Raises:
        PenumbraError: mediapipe is missing, or the heavy network is not here and cannot be brought.
    """
    tflite = heavy_tflite() if network == "heavy" else tflite_path(LANDMARKER)
    return import_once(tflite, LANDMARKER.outputs, LANDMARKER.pixels)


def tflite_path(network: Network) -> Path:
    """Return the path of a network's file in the installed wheel."""
    return in_mediapipe(network.file)


def import_once(
    tflite: Path,
    outputs: Mapping[int, str],
    pixels: tuple[float, float] | None = None,
    cache: Path | None = None,
) -> Path:
    """Return the ONNX translation of `tflite`, made now if the cache has none that is intact.

    Args:
        tflite: a TFLite file.
        outputs: which outputs to keep, and their names.
        pixels: what it takes for bytes of 0 and 255, to be given an image as bytes; None leaves its
            float input, (1, 3, H, W) RGB.
        cache: folder to keep it in; None means the default one.
    """
    data = tflite.read_bytes()
    key = hashlib.sha256(
        data + repr((IMPORTER_VERSION, sorted(outputs.items()), pixels)).encode()
    ).hexdigest()
    path = (cache or cache_folder()) / f"{tflite.stem}-{key[:16]}.onnx"
    if load(path) is None:
        # The importer needs onnx, which takes long to import; later runs do without.
        from engines.blazepose.pixel_input import take_pixels
        from engines.blazepose.tflite_import import import_tflite

        model = import_tflite(data, outputs)
        if pixels is not None:
            take_pixels(model, *pixels)
        store(path, model.SerializeToString())
    return path


def in_mediapipe(relative: str) -> Path:
    """Return the path of a file in the installed mediapipe package.

    Raises:
        PenumbraError: if mediapipe is not installed, or has no such file.
    """
    spec = importlib.util.find_spec("mediapipe")  # finds a package without running any of it
    if spec is None or not spec.submodule_search_locations:
        raise PenumbraError("mediapipe: is not installed; get it with " + _INSTALL)
    path = Path(spec.submodule_search_locations[0]) / relative
    if not path.is_file():
        raise PenumbraError(
            f"mediapipe: the installed version has no {relative}; get the right one with {_INSTALL}"
        )
    return path
