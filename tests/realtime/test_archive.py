"""The archive returns what went in, and no crash takes away what was written: real kills, a real
file size limit.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.outputs import open_output
from engines.types import (
    JOINT_NAMES,
    FrameInfo,
)
from realtime import records as records_module
from realtime.archive import Archive
from realtime.assembly import assemble
from realtime.records import FORMAT, MAX_HEADER_BYTES, Records, record_dtype
from realtime.recovery import recover
from tests.support.archives import load, make_estimate, make_person, names_in
from tests.support.paths import ROOT


def test_returns_what_went_in(tmp_path):
    out, k = tmp_path / "out.npz", 7
    estimates = [make_estimate(i, k, found=i != 2) for i in range(5)]
    with Archive(out, k, {"backend": "test"}) as archive:
        for estimate in estimates:
            archive.append(estimate)
        archive.meta["fps"] = 12.5
    data = load(out)
    other = {"frame": np.int64, "t": np.float64, "found": np.bool_, "track_id": np.int32}
    other["world_given"] = np.bool_
    worldly = {"T_world_cam", "up_cov", "floor_std"}
    for name in data.keys() - {"meta"}:
        assert data[name].dtype == other.get(name, np.float32), name
    assert {name: array.shape[1:] for name, array in data.items() if name != "meta"} == {
        "frame": (),
        "t": (),
        "found": (),
        "track_id": (),
        "joints": (24, 3),
        "joint_cov": (24, 3, 3),
        "joint_visible": (24,),
        "distance_std": (),
        "common_cov": (3, 3),
        "ray": (3,),
        "hypotheses": (k, 24, 3),
        "weights": (k,),
        "global_orient": (3,),
        "body_pose": (69,),
        "betas": (10,),
        "transl": (3,),
        "landmarks": (33, 3),
        "landmark_presence": (33,),
        "landmark_peak": (33,),
        "T_world_cam": (4, 4),
        "up_cov": (2, 2),
        "floor_std": (),
        "world_given": (),
    }
    np.testing.assert_array_equal(data["frame"], [0, 3, 6, 9, 12])
    np.testing.assert_array_equal(data["t"], [e.frame.media_time_s for e in estimates])
    np.testing.assert_array_equal(data["found"], [True, True, False, True, True])
    for i, estimate in enumerate(estimates):
        world = estimate.world
        assert data["world_given"][i] == (world is not None)
        for name in worldly:
            expected = np.nan if world is None else getattr(world, name)
            np.testing.assert_array_equal(
                data[name][i], np.broadcast_to(expected, data[name][i].shape)
            )
        if (person := estimate.person) is None:
            blank = data.keys() - other.keys() - worldly - {"meta"}
            assert all(np.isnan(data[n][i]).all() for n in blank)
            assert data["track_id"][i] == 0
            continue
        np.testing.assert_array_equal(data["hypotheses"][i], person.hypotheses.joints)
        np.testing.assert_array_equal(data["weights"][i], person.hypotheses.weights)
        for name in ("joints", "global_orient", "body_pose", "betas", "transl"):
            np.testing.assert_array_equal(data[name][i], getattr(person.best, name))
        for name in ("joint_cov", "joint_visible", "ray", "track_id"):
            np.testing.assert_array_equal(data[name][i], getattr(person, name))
        for name in ("distance_std", "common_cov"):
            np.testing.assert_allclose(data[name][i], getattr(person, name), rtol=1e-6)
        np.testing.assert_array_equal(data["landmarks"][i, :, :2], person.landmarks.points)
        np.testing.assert_array_equal(data["landmarks"][i, :, 2], person.landmarks.visibility)
    meta = json.loads(str(data["meta"]))
    assert meta == {
        "joint_names": list(JOINT_NAMES),
        "K": k,
        "backend": "test",
        "fps": 12.5,
        "frames": 5,
        "format": FORMAT,
    }
    assert names_in(tmp_path) == {"out.npz"}


def test_every_person_of_a_frame_has_a_row(tmp_path):
    out, k = tmp_path / "out.npz", 3
    two = replace(make_estimate(1, k), people=(make_person(6, k), make_person(4, k)))
    estimates = [make_estimate(0, k), two, make_estimate(2, k, found=False), make_estimate(3, k)]
    archive = Archive(out, k)
    for estimate in estimates:
        archive.append(estimate)
    (tmp_path / "killed.npz.partial").write_bytes(archive.partial.read_bytes())
    archive.close()
    assert recover(tmp_path / "killed.npz.partial") == (tmp_path / "killed.npz", 4)
    for path in (out, tmp_path / "killed.npz"):
        data = load(path)
        np.testing.assert_array_equal(data["frame"], [0, 3, 3, 6, 9])
        np.testing.assert_array_equal(data["t"], np.array([0, 1, 1, 2, 3]) / 30.0)
        np.testing.assert_array_equal(data["found"], [True, True, True, False, True])
        np.testing.assert_array_equal(data["track_id"], [1, 7, 5, 0, 4])
        for row, person in zip(data["joints"][1:3], two.people, strict=True):
            np.testing.assert_array_equal(row, person.best.joints)
        assert np.isnan(data["joints"][3]).all()
        assert json.loads(str(data["meta"]))["frames"] == 4


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
from realtime.assembly import assemble
from tests.support.archives import make_estimate
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
    (partial,) = tmp_path.iterdir()

    command = [sys.executable, "-m", "realtime.archive", "recover", str(partial)]
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
    (partial,) = tmp_path.iterdir()
    _, count = recover(partial)
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
        with pytest.raises(PenumbraError, match=r"^out: '.*npz'"):
            Archive(out, 3, force=True)
    assert names_in(tmp_path) == {"file", "folder.npz"}


def test_old_result_stays_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out.npz"
    with Archive(out, 2) as archive:
        archive.append(make_estimate(1, 2))
    with pytest.raises(PenumbraError, match="exists already; choose another name, or set `force`"):
        Archive(out, 2)
    second = Archive(out, 2, force=True)
    second.append(make_estimate(2, 2))
    np.testing.assert_array_equal(load(out)["frame"], [3])
    second.close()
    np.testing.assert_array_equal(load(out)["frame"], [6])


def test_a_second_run_with_the_same_output_is_refused_and_the_first_goes_on(tmp_path):
    first = Archive(tmp_path / "out.npz", 2)
    first.append(make_estimate(1, 2))
    for force in (False, True):
        with pytest.raises(PenumbraError, match="is being written by another run"):
            Archive(tmp_path / "out.npz", 2, force=force)
    assert recover(first.partial, tmp_path / "first.npz")[1] == 1
    np.testing.assert_array_equal(load(tmp_path / "first.npz")["frame"], [3])
    first.append(make_estimate(2, 2))
    first.close()
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["frame"], [3, 6])
    assert names_in(tmp_path) == {"out.npz", "first.npz"}


def test_scratch_files_of_killed_runs_are_left_alone(tmp_path, caplog):
    killed = Archive(tmp_path / "out.npz", 2)
    killed.append(make_estimate(1, 2))
    killed._output.keep()  # as the kernel does it: closed, unlocked, and still there
    with Archive(tmp_path / "out.npz", 2) as archive:
        archive.append(make_estimate(2, 2))
    assert "is left from a run that was killed" in caplog.text
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["frame"], [6])
    assert recover(killed.partial, tmp_path / "killed.npz")[1] == 1


@pytest.mark.parametrize("suffix", ["tmp", "partial"])
def test_planted_links_are_neither_followed_nor_removed(tmp_path, suffix):
    """The names of scratch files cannot be known before, not even from an earlier run's."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with Archive(tmp_path / "out.npz", 2) as archive:
        known = archive.partial.with_suffix(f".{suffix}")
        for planted in (tmp_path / f"out.npz.{suffix}", known):
            if not planted.exists():
                planted.symlink_to(precious)
        archive.append(make_estimate(1, 2))
    assert precious.read_text() == "mine"
    assert (tmp_path / f"out.npz.{suffix}").is_symlink()
    assert load(tmp_path / "out.npz")["frame"] == [3]


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "device"])
def test_only_a_regular_file_is_replaced(tmp_path, kind):
    out, precious = tmp_path / "out.npz", tmp_path / "precious"
    precious.write_text("mine")
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "device":
        try:
            os.mknod(out, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root can make a device")
    else:
        out.symlink_to(precious if kind == "link" else tmp_path / "nowhere")
    before = out.lstat()
    for force in (False, True):
        with pytest.raises(PenumbraError, match=r"is a (link|named pipe|device)"):
            Archive(out, 2, force=force)
    assert (out.lstat().st_ino, out.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_assembly_does_not_hold_the_run_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "CHUNK_BYTES", 1 << 20)
    with Archive(tmp_path / "out.npz", 100) as archive:
        estimate = make_estimate(1, 100)
        for i in range(600):
            archive.append(replace(estimate, frame=FrameInfo(i, 0, 0.0)))
        tracemalloc.start()
        with open_output(tmp_path / "copy.npz", "out", ".npz") as output:
            count = assemble(Records.open(archive.partial), output, {})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 600
    assert (tmp_path / "copy.npz").stat().st_size > 17 << 20
    assert peak < 5 << 20


def test_records_that_vanish_while_they_are_read_are_an_error(tmp_path):
    archive = Archive(tmp_path / "out.npz", 2)
    for i in range(3):
        archive.append(make_estimate(i, 2))
    with Records.open(archive.partial).file as file:
        records = replace(Records.open(archive.partial), file=file)
        os.truncate(archive.partial, 1000)
        with pytest.raises(OSError, match="has become shorter"):
            records.read_field("joints", 0, 3)
    archive.discard()


def test_frames_survive_the_removal_of_their_scratch_file(tmp_path):
    with Archive(tmp_path / "out.npz", 2) as archive:
        archive.append(make_estimate(1, 2))
        archive.partial.unlink()
        archive.append(make_estimate(2, 2))
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["frame"], [3, 6])
    assert names_in(tmp_path) == {"out.npz"}


def test_meta_data_that_could_not_be_read_again_are_refused(tmp_path):
    with pytest.raises(PenumbraError, match="a shorter record"):
        Archive(tmp_path / "out.npz", 2, {"model": MAX_HEADER_BYTES * "x"})
    assert names_in(tmp_path) == set()
