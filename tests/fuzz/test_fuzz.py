"""No input makes a reader crash, hang, fail with anything but its own error, or take too much."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.run import CORPUS, load
from tests.support.paths import ROOT

NAMES = sorted(path.stem.removeprefix("fuzz_") for path in Path(__file__).parent.glob("fuzz_*.py"))
SECONDS = 10


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_found_inputs_are_read_or_refused(name: str) -> None:
    target = load(name)
    found = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    for data in (b"", *target.seeds(), *found):
        target.read(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz.run", name]
    done = subprocess.run(
        [*command, "--seconds", str(SECONDS), "--found", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
    )
    inputs = {path.name: path.read_bytes()[:200] for path in tmp_path.iterdir()}
    assert done.returncode == 0, f"{inputs}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
