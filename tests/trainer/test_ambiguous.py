"""The benchmark ambiguous CMU: which scenes it is made of."""

import dataclasses
from pathlib import Path

import pytest

from trainer import ambiguous
from trainer.ambiguous import AmbiguousConfig
from trainer.data.rendered_shards import ShardConfig
from trainer.render.scenes import AMBIGUOUS, CLEAR, CROPS


@pytest.mark.parametrize("clear", [False, True])
def test_scenes_are_of_test_subjects_as_they_were_recorded(
    clear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ShardConfig] = []
    monkeypatch.setattr(ambiguous, "write_shards", asked.append)
    ambiguous.main(AmbiguousConfig(out=Path("there"), seed=5, clear=clear))
    (config,) = asked
    assert (config.split, config.seed, config.out) == ("test", 5, Path("there"))
    scene = config.scene
    assert scene.swap_upper == scene.jitter_rad == 0  # poses as recorded
    assert sum(scene.crops) == pytest.approx(1) and len(scene.crops) == len(CROPS)
    assert scene.occluders == (not clear) and scene == (CLEAR if clear else AMBIGUOUS)
    assert (scene.crops[0] == 1) == clear
    assert config.tracked  # crops as the live system chooses them
    assert dataclasses.asdict(config)["shards"] == AmbiguousConfig().shards
