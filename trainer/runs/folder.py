"""What a run folder says about itself: configuration, commit and data of every start, and the
scores at its end.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import dacite
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.methods.method import Method, Priors
from trainer.methods.registry import build
from trainer.model.pose_prior import PoseMixture
from trainer.runs.config import TrainConfig
from trainer.runs.git import git

LIVE = "live"
"""`kind` of the runs of `trainer.train_live`; those of `trainer.train` have none."""


def record(config: TrainConfig, run: Path, samples: int, done: int) -> None:
    """Record configuration, commit and data in the run folder, at every start."""
    append_start(run, {}, {"at_step": done, "training_samples": samples}, config)


def append_start(run: Path, about: dict[str, Any], facts: dict[str, Any], config: Any) -> None:
    """Add one start to `config.json`.

    Args:
        run: folder.
        about: what holds for all starts of the run.
        facts: of this start.
        config: a dataclass.
    """
    path = run / "config.json"
    starts = json.loads(path.read_text())["starts"] if path.exists() else []
    facts = facts | {"commit": git("rev-parse", "HEAD"), "config": dataclasses.asdict(config)}
    record = about | {"starts": [*starts, facts]}
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(record, indent=2, default=str))
    scratch.replace(path)  # a kill in the middle leaves the starts before
    (run / "uncommitted.diff").write_text(git("diff", "HEAD") + "\n")


def read_facts(run: Path) -> dict[str, Any]:
    """Read the `config.json` of a run.

    Raises:
        PenumbraError: it is missing or damaged.
    """
    path = run / "config.json"
    try:
        facts = json.loads(path.read_text())
        if not isinstance(facts, dict):
            raise ValueError("it is no record")
    except (OSError, ValueError) as error:
        raise PenumbraError(f"run: {path} cannot be read ({error}); name another run.") from error
    return facts


def check_new(out: Path) -> None:
    """Refuse to make a run where something is already.

    Raises:
        PenumbraError: it is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PenumbraError(f"out: {out} is not an empty folder; name another one.")


def write_scores(run: Path, scores: dict[str, float | None]) -> None:
    """Write the scores of the last evaluation."""
    (run / "scores.json").write_text(json.dumps(scores, indent=2))


def load_scores(run: Path) -> dict[str, float | None]:
    """Read the scores of the last evaluation.

    Raises:
        PenumbraError: if the run has not come to its end.
    """
    path = run / "scores.json"
    if not path.exists():
        raise PenumbraError(
            f"run: {run} has no scores yet; give its training command again and let it come to "
            "its end."
        )
    return json.loads(path.read_text())


def load_config(run: Path) -> TrainConfig:
    """Read the configuration of a run's last start.

    Raises:
        PenumbraError: if the folder holds no run, a damaged one, or one of the live flow.
    """
    path = run / "config.json"
    if not path.exists():
        raise PenumbraError(
            f"run: {run} holds no run; train one with python -m trainer.train --run {run}."
        )
    facts = read_facts(run)
    if facts.get("kind") == LIVE:
        raise PenumbraError(
            f"run: {run} trained the live flow, which is no method of the comparison; name a run "
            "of python -m trainer.train."
        )
    return config_of(facts)


def config_of(facts: dict[str, Any]) -> TrainConfig:
    """Take the configuration of the last start from a `config.json` or a model's record.

    Settings that no longer exist are ignored.
    """
    data = facts["starts"][-1]["config"]
    return dacite.from_dict(TrainConfig, data, dacite.Config(cast=[Path, tuple]))


def fresh_method(config: TrainConfig) -> Method:
    """Build an untrained method."""
    priors = Priors(BodyModel.load(config.body), PoseMixture.load())
    return build(config.method, config.supervision, priors, config.methods, config.encoder)


def load_method(run: Path) -> Method:
    """Load a trained method with its averaged weights, in evaluation mode.

    Raises:
        PenumbraError: if the folder holds no run, or one without a checkpoint yet.
    """
    config = load_config(run)
    if not (run / "last.pt").exists():
        raise PenumbraError(
            f"run: {run} holds no checkpoint yet; let python -m trainer.train --run {run} reach "
            "its first."
        )
    method = fresh_method(config)
    state: dict[str, Any] = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    method.load_state_dict(state["average"])
    return method.eval().requires_grad_(False)
