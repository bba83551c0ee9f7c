"""Outputs replace nothing that they must not, whoever runs the program and whatever was planted."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.distinct import check_distinct
from engines.errors import PenumbraError
from engines.outputs import WholeFile, open_output, scratch_files
from tests.support.full_disk import file_size_limit
from tests.support.paths import ROOT

HOLD_OUTPUT = """
import sys
from pathlib import Path
from engines.outputs import open_output
with open_output(Path(sys.argv[1]), "out", ".npz") as output:
    output.file.write(b"frames")
    print("open", flush=True)
    sys.stdin.read()
"""


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write(path: Path, data: bytes, *, force: bool = False) -> None:
    with open_output(path, "out", ".npz", force=force) as output:
        output.file.write(data)
        output.commit()


def as_ordinary_user(action: Callable[[], None]) -> None:
    """Run `action` in a child process without root's privileges."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change the user")


@pytest.mark.parametrize("missing", [1, 10, 21, 500])
def test_an_archive_that_lacks_its_last_bytes_is_not_committed(
    tmp_path: Path, missing: int
) -> None:
    """`zipfile` does not look how much of its last write the disk has taken."""

    def write_zip(file: Path | WholeFile) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("joints.npy", bytes(9000))

    write_zip(tmp_path / "whole.npz")
    size = (tmp_path / "whole.npz").stat().st_size
    with (
        pytest.raises(OSError, match="too large"),
        open_output(tmp_path / "walk.npz", "out", ".npz") as output,
        file_size_limit(size - missing),
    ):
        write_zip(output.file)
        output.commit()
    assert names_in(tmp_path) == {"whole.npz"}


def test_a_full_disk_is_an_error_that_names_the_output(tmp_path: Path) -> None:
    with (
        open_output(tmp_path / "walk.npz", "out", ".npz") as output,
        file_size_limit(4),
        pytest.raises(PenumbraError, match=r"out: .*walk\.npz' cannot be written .*has room"),
    ):
        output.write(b"frames")
    assert names_in(tmp_path) == set()


def test_a_result_takes_its_name_only_when_it_is_committed(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    with open_output(out, "out", ".npz") as output:
        output.file.write(b"frames")
        assert not out.exists() and output.scratch.parent == tmp_path
        output.commit()
        assert out.read_bytes() == b"frames"
    assert names_in(tmp_path) == {"walk.npz"}


def test_a_committed_file_may_be_written_on(tmp_path: Path) -> None:
    with open_output(tmp_path / "view.mp4", "record", ".mp4") as output:
        output.file.write(b"first ")
        output.commit()
        output.file.write(b"second")
    assert (tmp_path / "view.mp4").read_bytes() == b"first second"


@pytest.mark.parametrize("force", [False, True])
def test_an_output_that_is_not_committed_changes_nothing(tmp_path: Path, force: bool) -> None:
    out = tmp_path / "walk.npz"
    if force:
        out.write_bytes(b"of an earlier run")
    with (
        pytest.raises(RuntimeError),
        open_output(out, "out", ".npz", force=force) as output,
    ):
        output.file.write(b"half")
        raise RuntimeError
    assert names_in(tmp_path) == ({"walk.npz"} if force else set())
    assert not force or out.read_bytes() == b"of an earlier run"


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    write(out, b"first")
    with pytest.raises(PenumbraError, match=r"out: .* exists already.*force"):
        open_output(out, "out", ".npz")
    assert out.read_bytes() == b"first"
    write(out, b"second", force=True)
    assert out.read_bytes() == b"second" and names_in(tmp_path) == {"walk.npz"}


def test_a_file_that_appears_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    with open_output(out, "out", ".npz") as output:
        output.file.write(b"ours")
        out.write_bytes(b"theirs")
        with pytest.raises(PenumbraError, match=output.scratch.name):
            output.commit()
    assert out.read_bytes() == b"theirs" and output.scratch.read_bytes() == b"ours"


def test_a_pipe_that_appears_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    out.write_bytes(b"of an earlier run")
    with open_output(out, "out", ".npz", force=True) as output:
        out.unlink()
        os.mkfifo(out)
        with pytest.raises(PenumbraError, match="a named pipe"):
            output.commit()
    assert stat.S_ISFIFO(out.lstat().st_mode)


def plant_special_files(folder: Path) -> list[Path]:
    """Everything that can be called `*.npz` without being a regular file."""
    (folder / "folder.npz").mkdir()
    os.mkfifo(folder / "pipe.npz")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.npz"))
    (folder / "target").write_bytes(b"precious")
    links = {"link": "target", "dangling": "nowhere", "null": "/dev/null", "loop": "loop.npz"}
    for name, target in links.items():
        (folder / f"{name}.npz").symlink_to(target)
    if os.geteuid() == 0:
        os.mknod(folder / "device.npz", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return sorted(folder.glob("*.npz"))


@pytest.mark.parametrize("force", [False, True])
def test_only_regular_files_are_written(tmp_path: Path, force: bool) -> None:
    special = plant_special_files(tmp_path)
    before = {path: path.lstat() for path in special}
    for path in special:
        with pytest.raises(PenumbraError, match=r"^out: .* regular file\.$"):
            open_output(path, "out", ".npz", force=force)
    assert {path: path.lstat() for path in special} == before
    assert (tmp_path / "target").read_bytes() == b"precious"


@needs_root
def test_an_ordinary_user_is_refused_as_well(tmp_path: Path) -> None:
    special = plant_special_files(tmp_path)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:3]:  # pytest makes them private
        folder.chmod(0o755)

    def action() -> None:
        for path in [*special, tmp_path / "new.npz"]:
            with pytest.raises(PenumbraError, match=r"^out: "):
                open_output(path, "out", ".npz", force=True)

    as_ordinary_user(action)
    assert not (tmp_path / "new.npz").exists()


def test_planted_scratch_files_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("walk.npz.tmp", "walk.npz.partial", f"walk.npz.{'0' * 16}.partial"):
        (tmp_path / name).symlink_to(victim)
    os.mkfifo(tmp_path / f"walk.npz.{'1' * 16}.partial")
    planted = names_in(tmp_path)
    write(tmp_path / "walk.npz", b"frames")
    assert names_in(tmp_path) == planted | {"walk.npz"} and victim.read_bytes() == b"precious"


def test_names_of_scratch_files_cannot_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with open_output(tmp_path / "walk.npz", "out", ".npz") as output:
            names.add(output.scratch.name)
    assert len(names) == 20


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "walk.npz", b"frames")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "walk.npz").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["walk.bvh", "walk", "walk.npz.gz", ".npz", "missing/walk.npz"])
def test_a_name_that_cannot_be_right_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PenumbraError, match=r"^out: '.*; (give|choose) .*\.$"):
        open_output(tmp_path / name, "out", ".npz")
    assert not names_in(tmp_path)


def test_folders_that_cannot_be_reached_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop" / "a.npz", tmp_path / "a\0.npz", tmp_path / f"{'a' * 300}.npz"):
        with pytest.raises(PenumbraError, match="cannot be written"):
            open_output(path, "out", ".npz")
    assert names_in(tmp_path) == {"loop"}


def test_another_run_with_the_same_output_is_refused_until_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    command = [sys.executable, "-c", HOLD_OUTPUT, str(out)]
    holder = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    for force in (False, True):
        with pytest.raises(PenumbraError, match="another run"):
            open_output(out, "out", ".npz", force=force)
    write(tmp_path / "other.npz", b"not locked")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    (left,) = scratch_files(out)
    write(out, b"frames")
    assert out.read_bytes() == b"frames" and left.read_bytes() == b"frames"


def test_a_committed_file_stays_locked_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "view.mp4"
    with open_output(path, "record", ".mp4") as output:
        output.commit()
        with pytest.raises(PenumbraError, match="another run"):
            open_output(path, "record", ".mp4", force=True)
    with open_output(path, "record", ".mp4", force=True):
        pass


def test_one_of_many_that_start_at_once_gets_the_output(tmp_path: Path) -> None:
    gate, winners, opened = threading.Barrier(8), [], []

    def start() -> None:
        gate.wait()
        try:
            opened.append(open_output(tmp_path / "walk.npz", "out", ".npz"))
        except PenumbraError:
            return
        winners.append(threading.get_ident())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    opened[0].discard()
    assert not names_in(tmp_path)


def test_an_output_is_compared_with_inputs_by_identity(tmp_path: Path) -> None:
    source = tmp_path / "walk.mp4"
    source.write_bytes(b"video")
    (tmp_path / "hard.mp4").hardlink_to(source)
    (tmp_path / "soft.mp4").symlink_to(source)
    (tmp_path / "here").symlink_to(tmp_path)
    for record in (
        "walk.mp4",
        "hard.mp4",
        "soft.mp4",
        "here/walk.mp4",
        "../" + tmp_path.name + "/walk.mp4",
    ):
        for text in (str(source), f"file://{source}", f"concat:///nothing|file://{source}"):
            with pytest.raises(PenumbraError, match=r"record: .* is also the source"):
                check_distinct({"record": tmp_path / record}, {"the source": text})
    check_distinct({"record": tmp_path / "other.mp4"}, {"the source": str(source), "body": None})


def test_a_file_of_a_source_folder_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"image")
    (tmp_path / "walk.npz").hardlink_to(tmp_path / "0.jpg")
    for name in ("0.jpg", "walk.npz"):
        with pytest.raises(PenumbraError, match="is also the source"):
            check_distinct({"out": tmp_path / name}, {"the source": str(tmp_path)})
    check_distinct({"out": tmp_path / "new.npz"}, {"the source": str(tmp_path)})


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    (tmp_path / "b.mp4").hardlink_to(tmp_path / "a.npz")
    with pytest.raises(PenumbraError, match=r"record: .* is also out"):
        check_distinct({"out": tmp_path / "a.npz", "record": tmp_path / "b.mp4"}, {})
