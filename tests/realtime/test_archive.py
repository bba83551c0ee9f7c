"""The archive returns what went in, and no crash takes away what was written: real kills, a real
file size limit.
"""

import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, Body, Estimate, FrameInfo, Hypotheses, Landmarks, Person, Roi
from realtime import archive as archive_module
from realtime.archive import Archive, assemble, main, record_dtype, recover
from tests.support.paths import ROOT


def make_person(seed: int, k: int) -> Person:
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    roi = Roi(random(2), 100.0, 0.1)
    landmarks = Landmarks(
        random(33, 2), random(33), random(33), random(33), random(33, 3), 0.9, roi
    )
    hypotheses = Hypotheses(
        random(k, 24, 3), random(k, 10), random(k, 3), random(k, 24, 3), random(k), random(k)
    )
    best = Body(random(3), random(69), random(10), random(3), random(24, 3))
    return Person(
        landmarks, hypotheses, best, random(24, 3, 3), 0.25 + seed, random(3), random(24), seed + 1
    )


def make_estimate(index: int, k: int, found: bool = True) -> Estimate:
    person = make_person(index, k) if found else None
    return Estimate(FrameInfo(3 * index, 10 * index, index / 30.0), person)


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_returns_what_went_in(tmp_path):
    out, k = tmp_path / "out.npz", 7
    estimates = [make_estimate(i, k, found=i != 2) for i in range(5)]
    with Archive(out, k, {"backend": "test"}) as archive:
        for estimate in estimates:
            archive.append(estimate)
        archive.meta["fps"] = 12.5
    data = load(out)
    other = {"frame": np.int64, "t": np.float64, "found": np.bool_, "track_id": np.int32}
    for name in data.keys() - {"meta"}:
        assert data[name].dtype == other.get(name, np.float32), name
    assert {name: array.shape[1:] for name, array in data.items() if name != "meta"} == {
        "frame": (), "t": (), "found": (), "track_id": (), "joints": (24, 3), "joint_cov": (24, 3, 3), "joint_visible": (24,),
        "distance_std": (), "ray": (3,), "hypotheses": (k, 24, 3), "weights": (k,), "global_orient": (3,),
        "body_pose": (69,), "betas": (10,), "transl": (3,), "landmarks": (33, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(data["frame"], [0, 3, 6, 9, 12])
    np.testing.assert_array_equal(data["t"], [e.frame.media_time_s for e in estimates])
    np.testing.assert_array_equal(data["found"], [True, True, False, True, True])
    for i, estimate in enumerate(estimates):
        if (person := estimate.person) is None:
            assert all(np.isnan(data[n][i]).all() for n in data.keys() - other.keys() - {"meta"})
            assert data["track_id"][i] == 0
            continue
        np.testing.assert_array_equal(data["hypotheses"][i], person.hypotheses.joints)
        np.testing.assert_array_equal(data["weights"][i], person.hypotheses.weights)
        for name in ("joints", "global_orient", "body_pose", "betas", "transl"):
            np.testing.assert_array_equal(data[name][i], getattr(person.best, name))
        for name in ("joint_cov", "joint_visible", "ray", "distance_std", "track_id"):
            np.testing.assert_array_equal(data[name][i], getattr(person, name))
        np.testing.assert_array_equal(data["landmarks"][i, :, :2], person.landmarks.points)
        np.testing.assert_array_equal(data["landmarks"][i, :, 2], person.landmarks.visibility)
    meta = json.loads(str(data["meta"]))
    assert meta == {
        "joint_names": list(JOINT_NAMES),
        "K": k,
        "backend": "test",
        "fps": 12.5,
        "frames": 5,
    }
    assert names_in(tmp_path) == {"out.npz"}


def test_no_frame_at_all_is_still_a_valid_archive(tmp_path):
    with Archive(tmp_path / "out.npz", 4):
        pass
    assert load(tmp_path / "out.npz")["hypotheses"].shape == (0, 4, 24, 3)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, PenumbraError])
def test_interruption_keeps_the_frames_and_the_error(tmp_path, error):
    with pytest.raises(error), Archive(tmp_path / "out.npz", 3) as archive:
        for i in range(4):
            archive.append(make_estimate(i, 3))
        raise error("in mid-run")
    data = load(tmp_path / "out.npz")
    np.testing.assert_array_equal(data["frame"], [0, 3, 6, 9])
    assert json.loads(str(data["meta"]))["interrupted_by"] == error.__name__
    assert names_in(tmp_path) == {"out.npz"}


@pytest.mark.parametrize("before", [None, b"of an earlier run"])
def test_a_run_that_fails_before_its_first_frame_leaves_what_was_there(tmp_path, before):
    out = tmp_path / "out.npz"
    if before:
        out.write_bytes(before)
    with pytest.raises(PenumbraError), Archive(out, 3):
        raise PenumbraError("the port is in use")
    assert names_in(tmp_path) == ({"out.npz"} if before else set())
    assert not before or out.read_bytes() == before


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from realtime.archive import Archive
from tests.realtime.test_archive import make_estimate
"""


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    head = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"))
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_loses_no_appended_frame(tmp_path):
    out = tmp_path / "out.npz"
    process = child(
        "archive = Archive(Path(sys.argv[1]), 5, {'backend': 'test'})\n"
        "for i in range(6): archive.append(make_estimate(i, 5))\n"
        "print('appended', flush=True)\n"
        "sys.stdin.read()\n",
        str(out),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "appended\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names_in(tmp_path) == {"out.npz.partial"}

    command = [sys.executable, "-m", "realtime.archive", "recover", str(out) + ".partial"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = load(out)
    np.testing.assert_array_equal(data["frame"], [3 * i for i in range(6)])
    np.testing.assert_array_equal(data["hypotheses"][5], make_person(5, 5).hypotheses.joints)
    meta = json.loads(str(data["meta"]))
    assert (meta["backend"], meta["interrupted_by"], meta["frames"]) == ("test", "kill", 6)


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_full_disk_raises_and_keeps_what_was_written(tmp_path):
    """The kernel refuses to let the file grow, as it does when the disk is full; neither does the
    result fit.
    """
    out = tmp_path / "out.npz"
    room = 4 * record_dtype(5).itemsize + 2000  # header and four frames, not five
    process = child(
        "import resource\n"
        "from engines.errors import PenumbraError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    with Archive(Path(sys.argv[1]), 5) as archive:\n"
        "        for i in range(100): archive.append(make_estimate(i, 5))\n"
        "except PenumbraError as error: print(error)\n",
        str(out),
        str(room),
    )
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "cannot grow" in stdout and "4 frames before are kept" in stdout
    assert (
        "Traceback" not in stderr and "recover" in stderr
    )  # the second sentence says how to get at them
    assert names_in(tmp_path) == {"out.npz.partial"}
    _, count = recover(tmp_path / "out.npz.partial")
    assert count == 4
    np.testing.assert_array_equal(load(out)["joints"][3], make_person(3, 5).best.joints)


def test_unwritable_output_is_refused_before_the_first_frame(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.npz").mkdir()
    for out in (
        tmp_path / "file" / "out.npz",
        tmp_path / "missing" / "out.npz",
        tmp_path / "folder.npz",
    ):
        with pytest.raises(PenumbraError, match=r"--out '.*npz'"):
            Archive(out, 3)
    assert names_in(tmp_path) == {"file", "folder.npz"}


def test_old_result_stays_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out.npz"
    with Archive(out, 2) as archive:
        archive.append(make_estimate(1, 2))
    second = Archive(out, 2)
    second.append(make_estimate(2, 2))
    np.testing.assert_array_equal(load(out)["frame"], [3])
    second.close()
    np.testing.assert_array_equal(load(out)["frame"], [6])


def test_scratch_file_of_another_run_is_left_alone(tmp_path):
    first, second = Archive(tmp_path / "out.npz", 2), Archive(tmp_path / "out.npz", 2)
    first.append(make_estimate(1, 2))
    second.append(make_estimate(2, 2))
    assert first.partial != second.partial
    assert recover(first.partial, tmp_path / "first.npz")[1] == 1
    np.testing.assert_array_equal(load(tmp_path / "first.npz")["frame"], [3])
    second.close()
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["frame"], [6])
    first.close()


@pytest.mark.parametrize("cut", [1, 100, record_dtype(2).itemsize - 1])
def test_half_a_record_is_left_out(tmp_path, cut):
    archive = Archive(tmp_path / "out.npz", 2)
    for i in range(3):
        archive.append(make_estimate(i, 2))
    whole = archive.partial.read_bytes()
    (tmp_path / "cut.npz.partial").write_bytes(whole[:-cut])
    assert recover(tmp_path / "cut.npz.partial") == (tmp_path / "cut.npz", 2)
    np.testing.assert_array_equal(load(tmp_path / "cut.npz")["frame"], [0, 3])
    archive.close()


def test_recover_refuses_in_one_sentence(tmp_path, capsys):
    (tmp_path / "a.npz.partial").write_bytes(b"something else entirely")
    (tmp_path / "b.npz").write_bytes(b"precious")
    (tmp_path / "b.npz.partial").write_bytes(b"")
    for name, reason in (
        ("a.npz.partial", "not the scratch"),
        ("b.npz.partial", "exists"),
        ("c.npz.partial", "read"),
    ):
        assert main(["recover", str(tmp_path / name)]) == 2
        message = capsys.readouterr().err
        assert reason in message and message.count("\n") == 1
    assert (tmp_path / "b.npz").read_bytes() == b"precious"


def test_assembly_does_not_hold_the_run_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "CHUNK_BYTES", 1 << 20)
    with Archive(tmp_path / "out.npz", 100) as archive:
        estimate = make_estimate(1, 100)
        for _ in range(600):
            archive.append(estimate)
        tracemalloc.start()
        count = assemble(archive.partial, tmp_path / "copy.npz")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 600
    assert (tmp_path / "copy.npz").stat().st_size > 17 << 20
    assert peak < 5 << 20
