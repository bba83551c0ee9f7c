"""Whatever happens to files of the cache, results are right: damage is found and undone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines import cache
from engines.backends.engine import open_engine
from engines.blazepose import models
from engines.errors import PenumbraError
from tests.engines.backends.test_backends import conv_net
from tests.support.paths import ROOT

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a bit flipped": lambda content: content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
    "another file": lambda content: b"not what it was",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_files_are_not_loaded(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "new" / "file"
    assert cache.load(path) is None
    cache.store(path, b"what was compiled")
    assert cache.load(path) == b"what was compiled" and not cache.is_damaged(path)
    path.write_bytes(damage(b"what was compiled"))
    assert cache.load(path) is None and cache.is_damaged(path)
    cache.store(path, b"compiled again")
    assert cache.load(path) == b"compiled again"
    assert {file.name for file in path.parent.iterdir()} == {"file", "file.sha256"}


def test_a_file_without_its_digest_is_not_loaded(tmp_path: Path) -> None:
    cache.store(tmp_path / "file", b"content")
    (tmp_path / "file.sha256").unlink()
    assert cache.load(tmp_path / "file") is None
    assert not cache.is_damaged(tmp_path / "file")
    cache.seal(tmp_path / "file")
    assert cache.load(tmp_path / "file") == b"content"


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(PenumbraError, match=r"PENUMBRA_CACHE: cannot write .*; name a folder"):
        cache.writable_folder("openvino")
    with pytest.raises(PenumbraError, match=r"PENUMBRA_CACHE: cannot write .*; name a folder"):
        cache.store(folder / "file", b"")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_compiled_network_is_compiled_again(
    tmp_path: Path, folder: Path, damage: Damage
) -> None:
    model = conv_net(tmp_path)

    def run() -> dict[str, np.ndarray]:
        engine = open_engine(model, "openvino")
        for array in engine.inputs.values():
            array[...] = np.random.default_rng(0).random(array.shape)
        engine.run()
        return {name: array.copy() for name, array in engine.outputs.items()}

    right = run()
    (blob,) = (folder / "openvino").glob("*.blob")
    good = blob.read_bytes()
    assert run().keys() == right.keys()
    blob.write_bytes(damage(good))
    for name, array in run().items():
        np.testing.assert_array_equal(array, right[name])
    assert cache.load(blob) is not None
    os.utime(blob, (0, 0))
    run()
    assert blob.stat().st_mtime == 0  # what is intact is loaded, not compiled


def test_other_shapes_and_threads_have_a_blob_of_their_own(tmp_path: Path, folder: Path) -> None:
    model = conv_net(tmp_path)
    for threads in (1, 2, 1):
        open_engine(model, "openvino", num_threads=threads)
    assert len(list((folder / "openvino").glob("*.blob"))) == 2


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_translation_is_made_again(folder: Path, damage: Damage) -> None:
    path = models.detector_model()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert models.detector_model() == path and path.read_bytes() == good


MOMENTS = """
import numpy as np
from engines.kernels import MomentPlan
points = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
print(MomentPlan(3, 2)(points, np.ones(3, np.float32)).cov.tolist())
"""


def moments(folder: Path, home: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "WARP_CACHE_PATH"}
    environment |= {"PENUMBRA_CACHE": str(folder), "HOME": home}
    environment.pop("XDG_CACHE_HOME", None)
    command = [sys.executable, "-c", MOMENTS]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_damaged_kernels_are_compiled_again(folder: Path) -> None:
    right = moments(folder, "/proc")  # a home that not even root can write to
    (binary,), (meta,) = folder.rglob("*.o"), folder.rglob("*.meta")
    for file, name in ((binary, "truncated"), (binary, "a bit flipped"), (meta, "empty")):
        file.write_bytes(DAMAGES[name](file.read_bytes()))
        assert moments(folder, "/proc") == right


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to_is_not_needed(folder: Path) -> None:
    environment = {**os.environ, "PENUMBRA_CACHE": str(folder), "HOME": "/proc"}
    environment.pop("XDG_CACHE_HOME", None)
    words = "run_demo.py --demo --headless --no-publish --max-frames 3"
    done = subprocess.run(
        [sys.executable, *words.split()], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    environment.pop("PENUMBRA_CACHE")
    done = subprocess.run(
        [sys.executable, *words.split()], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "PENUMBRA_CACHE: cannot write /proc" in done.stderr
    assert "Traceback" not in done.stderr
