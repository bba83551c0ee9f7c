"""Recovery makes results of scratch files, and refuses in one sentence what is none."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.archive import Archive
from realtime.records import MAGIC, MAX_HEADER_BYTES, record_dtype
from realtime.recovery import main, recover
from tests.support.archives import load, make_estimate, names_in


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
        with pytest.raises(SystemExit, match="2"):
            main(["recover", str(tmp_path / name)])
        message = capsys.readouterr().err
        assert reason in message and message.count("\n") == 1
    assert (tmp_path / "b.npz").read_bytes() == b"precious"


def test_the_name_of_a_result_is_answered_with_its_scratch_file(tmp_path):
    archive = Archive(tmp_path / "out.npz", 2)
    archive.append(make_estimate(1, 2))
    with pytest.raises(PenumbraError, match=rf"give its scratch file, '{archive.partial}'\.$"):
        recover(archive.path)
    archive.close()
    with pytest.raises(PenumbraError, match=r"what numpy\.load reads needs no recovery"):
        recover(archive.path)
    np.testing.assert_array_equal(load(archive.path)["frame"], [3])


@pytest.mark.parametrize("more", [0, 20_000])
def test_photos_are_named_as_far_as_there_are_frames_of_them(tmp_path, caplog, more):
    images = [{"frame": i, "file": f"{i}.jpg", "camera_matrix": []} for i in range(7 + more)]
    archive = Archive(tmp_path / "out.npz", 2, {"images": images})
    for i in range(2):
        archive.append(make_estimate(i, 2))
    (tmp_path / "killed.npz.partial").write_bytes(archive.partial.read_bytes())
    archive.close()
    recover(tmp_path / "killed.npz.partial")
    named = [json.loads(str(load(path)["meta"]))["images"] for path in sorted(tmp_path.glob("*z"))]
    kept = [images[0], images[3]]
    assert named == [[] if more else kept, kept]
    assert ("more than the scratch file can name" in caplog.text) is bool(more)


def scratch(tmp_path: Path, first: bytes, header: bytes, records: bytes = b"") -> Path:
    partial = tmp_path / "damaged.npz.partial"
    partial.write_bytes(first + header + records)
    return partial


DAMAGED = [
    b"",
    b"{",
    b"{}\n",
    b"null\n",
    b"[]\n",
    b"\xff\xfe\n",
    b'{"k": 2}\n',
    b'{"k": 2, "meta": []}\n',
    b'{"k": "2", "meta": {}}\n',
    b'{"k": true, "meta": {}}\n',
    b'{"k": 2.0, "meta": {}}\n',
    b'{"k": 0, "meta": {}}\n',
    b'{"k": -1, "meta": {}}\n',
    b'{"k": 100001, "meta": {}}\n',
    b'{"k": 1e999, "meta": {}}\n',
    b'{"k": 1' + 5000 * b"0" + b', "meta": {}}\n',
    b'{"k": 2, "meta": {"deep": ' + 300_000 * b"[" + 300_000 * b"]" + b"}}\n",
    b'{"k": 2, "meta": {}}',
    b'{"k": 2, "meta": {"images": {}}}\n',
    b'{"k": 2, "meta": {"images": [2]}}\n',
    b'{"k": 2, "meta": {"images": [{"frame": [2]}]}}\n',
    b'{"k": 2, "meta": {"long": "' + (1 << 21) * b"x" + b'"}}\n',
]


@pytest.mark.parametrize("header", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_header_is_a_sentence(tmp_path, header):
    partial = scratch(tmp_path, MAGIC, header)
    with pytest.raises(PenumbraError, match=r"^partial: the header of '.*' is damaged"):
        recover(partial)
    assert names_in(tmp_path) == {partial.name}


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (b"PENUMBRA RECORDS 2\n", "another version"),
        (MAGIC[:-1], "another version"),
        (b"", "scratch"),
    ],
)
def test_a_file_of_another_format_is_named(tmp_path, first, complaint):
    with pytest.raises(PenumbraError, match=complaint):
        recover(scratch(tmp_path, first, b'{"k": 2, "meta": {}}\n'))


def test_a_header_at_its_bound_takes_no_more_memory_than_promised(tmp_path):
    inner = b"[" + (MAX_HEADER_BYTES // 3 - 20) * b"[]," + b"[]]"
    partial = scratch(tmp_path, MAGIC, b'{"k": 2, "meta": {"a": ' + inner + b"}}\n")
    tracemalloc.start()
    assert recover(partial)[1] == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "name"])
def test_recover_reads_regular_files_only(tmp_path, kind):
    partial = tmp_path / "out.npz.partial"
    if kind == "pipe":
        os.mkfifo(partial)
    elif kind == "folder":
        partial.mkdir()
    elif kind == "device":
        partial.symlink_to("/dev/zero")
    else:
        partial = Path("out\0.npz.partial")
    with pytest.raises(PenumbraError, match=r"^(partial|out): "):
        recover(partial)


def test_a_number_that_is_no_truth_value_is_made_one(tmp_path):
    header = b'{"k": 2, "meta": {}}\n'
    record = bytearray(record_dtype(2).itemsize)
    record[record_dtype(2).fields["found"][1]] = 7
    recover(scratch(tmp_path, MAGIC, header, bytes(record)))
    found = load(tmp_path / "damaged.npz")["found"]
    assert found.view(np.uint8) == [1]


def test_a_result_is_replaced_by_recovery_only_with_force(tmp_path):
    archive = Archive(tmp_path / "out.npz", 2)
    archive.append(make_estimate(1, 2))
    archive._output.keep()
    (tmp_path / "out.npz").write_text("mine")
    with pytest.raises(PenumbraError, match="exists already"):
        recover(archive.partial)
    assert (tmp_path / "out.npz").read_text() == "mine"
    recover(archive.partial, force=True)
    np.testing.assert_array_equal(load(tmp_path / "out.npz")["frame"], [3])
