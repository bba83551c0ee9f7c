"""Which landmark network a run takes; a run that names none never downloads."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from engines.blazepose import heavy, npm
from engines.errors import PenumbraError
from realtime import landmark_choice
from realtime.config import RunConfig
from realtime.landmark_choice import choose
from realtime.session import Session
from tests.support.run_demo import demo

LIVE = RunConfig(cam="0")
PACED = RunConfig(video="walk.mp4", out=Path("walk.npz"), realtime=True)
WHOLE = RunConfig(video="walk.mp4", every_frame=True)
DEMO = RunConfig(demo=True, every_frame=True)


@pytest.fixture
def no_help(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and an npm that tells when it is asked for anything."""
    asked = tmp_path / "asked"
    script = tmp_path / "npm"
    script.write_text(f"#!/bin/sh\necho npm error there is no network >&2\n: > {asked}\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(npm, "_scripts", lambda: str(tmp_path))
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))
    return asked


def on(monkeypatch: pytest.MonkeyPatch, cached: bool, gpu: bool) -> None:
    """Set what is here."""
    monkeypatch.setattr(landmark_choice, "is_cached", lambda: cached)
    monkeypatch.setattr(landmark_choice, "landmarker_model", lambda network: Path(network))
    monkeypatch.setattr(landmark_choice, "runs_on_gpu", lambda model, backend: gpu)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("config", [LIVE, PACED, WHOLE, DEMO], ids=["live", "paced", "all", "demo"])
def test_auto_takes_heavy_where_nobody_waits_for_it(
    config: RunConfig,
    cached: bool,
    gpu: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    on(monkeypatch, cached, gpu)
    caplog.set_level(logging.INFO)
    right = config is not DEMO and (gpu or config.every_frame)
    network = choose(config, config.every_frame)
    assert network == ("heavy" if right and cached else "full")
    (said,) = caplog.messages
    assert said.startswith(f"landmarks: {network} (auto: ")
    assert ("give `landmarks` heavy once to get it" in said) == (right and not cached)


@pytest.mark.parametrize("network", ["full", "heavy"])
@pytest.mark.parametrize("config", [LIVE, WHOLE, DEMO], ids=["live", "all", "demo"])
def test_a_name_is_taken_at_its_word(config: RunConfig, network: str, no_help: Path) -> None:
    asked = RunConfig(**{**vars(config), "landmarks": network})
    assert choose(asked, asked.every_frame) == network
    assert not no_help.exists()


@pytest.mark.parametrize("config", [LIVE, PACED, WHOLE, DEMO], ids=["live", "paced", "all", "demo"])
def test_auto_never_asks_npm(config: RunConfig, no_help: Path) -> None:
    assert choose(config, config.every_frame) == "full"
    assert not no_help.exists()


@pytest.mark.parametrize("landmarks", ["auto", "heavy", "full"])
def test_a_local_copy_says_which_it_is(
    landmarks: str, no_help: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"heavy")
    monkeypatch.setattr(heavy, "_network_of", lambda content: "heavy")
    asked = RunConfig(**{**vars(LIVE), "landmarks": landmarks, "landmarks_file": copy})
    if landmarks == "full":
        with pytest.raises(PenumbraError, match="`landmarks` asks for full"):
            choose(asked, asked.every_frame)
    else:
        assert choose(asked, asked.every_frame) == "heavy"


def test_a_network_that_cannot_be_brought_ends_the_run_with_one_sentence(
    no_help: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo("--landmarks", "heavy", frames=1) == 2
    lines = capsys.readouterr().err.splitlines()
    (said,) = [line for line in lines if line.startswith("run_demo.py: ")]
    assert "--landmarks: heavy is not in the cache and cannot be brought" in said
    assert "there is no network" in said and "as --landmarks-file." in said
    assert no_help.exists()


def test_the_archive_says_which_network_it_was(tmp_path: Path) -> None:
    assert demo("--out", tmp_path / "demo.npz", frames=1) == 0
    with np.load(tmp_path / "demo.npz") as data:
        assert json.loads(str(data["meta"]))["landmark_network"] == "full"


@pytest.mark.slow
def test_the_heavy_network_runs_the_demo() -> None:
    """Its landmarks say whose they are."""
    if not heavy.is_cached():
        pytest.skip("the heavy network is not in the cache; run_demo.py --landmarks heavy gets it")
    config = RunConfig(every_frame=True, landmarks="heavy", publish=False, headless=True)
    with Session(config) as session:
        frame = session.source.read()
        assert frame is not None
        person = session.pipeline(frame).estimate.person
    assert person is not None and person.landmarks.network == "heavy"
    assert person.landmarks.score > 0.9
