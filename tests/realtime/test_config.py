"""Sources and files are taken as Python callers write them."""

import subprocess
import sys
from pathlib import Path

import pytest

from engines.errors import PenumbraError
from realtime.config import RunConfig
from realtime.inputs import open_source
from tests.support.paths import ROOT
from tests.support.run_demo import grey_video

PROGRAM = """
from pathlib import Path
from engines.errors import PenumbraError
from realtime.config import RunConfig

assert RunConfig(out="a.npz", calib="k.json") == RunConfig(out=Path("a.npz"), calib=Path("k.json"))
for option, value in (("cam", True), ("cam", 1.0), ("video", 0), ("video", b"x"), ("out", 1)):
    try:
        RunConfig(**{option: value})
    except PenumbraError as error:
        print(error)
"""
"""Of somebody who does not check types, as the tests do."""


def test_a_path_or_its_text_is_a_source(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4")
    config = RunConfig(video=video)
    assert config == RunConfig(video=str(video)) and isinstance(config.video, str)
    with open_source(config) as source:
        assert source.read() is not None


def test_an_index_is_a_camera() -> None:
    assert RunConfig(cam=0) == RunConfig(cam="0") != RunConfig()
    with pytest.raises(PenumbraError, match="87"):
        open_source(RunConfig(cam=87))


def test_what_is_no_source_or_file_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "cam: is of type bool; give an index or a name.",
        "cam: is of type float; give an index or a name.",
        "video: is of type int; give a path or its text.",
        "video: is of type bytes; give a path or its text.",
        "out: is of type int; give a path or its text.",
    ]
