"""What the folder of a live flow's run says about itself, and how its weights are loaded."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import dacite
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.live.config import LiveConfig
from trainer.live.method import LiveMethod
from trainer.methods.method import Priors
from trainer.model.pose_prior import PoseMixture
from trainer.runs.folder import LIVE, append_start, read_facts

_MAY_DIFFER = {
    "run",
    "start",
    "steps",
    "minutes",
    "threads",
    "evaluate_every",
    "evaluate_samples",
    "checkpoint_every",
}
"""Settings with which a run may go on that was begun with others."""


def record_start(config: LiveConfig, done: int, rendered: int) -> None:
    """Record configuration and commit in the run folder, at every start.

    Args:
        config: of the run.
        done: steps so far.
        rendered: number of rendered samples.
    """
    append_start(config.run, {"kind": LIVE}, {"at_step": done, "rendered": rendered}, config)


def is_live(run: Path) -> bool:
    """Tell whether a folder holds a run of the live flow."""
    path = run / "config.json"
    return path.exists() and read_facts(run).get("kind") == LIVE


def load_live_config(run: Path) -> LiveConfig:
    """Read the configuration of a run's last start."""
    return live_config_of(read_facts(run))


def live_config_of(facts: dict[str, Any]) -> LiveConfig:
    """Take the configuration of the last start from a `config.json` or a model's record.

    Settings that no longer exist are ignored.
    """
    data = facts["starts"][-1]["config"]
    return dacite.from_dict(LiveConfig, data, dacite.Config(cast=[Path, tuple]))


def check_same(config: LiveConfig) -> None:
    """Refuse to go on with other settings than a run was begun with.

    Raises:
        PenumbraError: if something differs that the result depends on, or the folder holds a run
            of another kind.
    """
    if not (config.run / "config.json").exists():
        return
    if not is_live(config.run):
        raise PenumbraError(f"run: {config.run} holds another kind of run; name a new folder.")
    mine, theirs = _comparable(config), _comparable(load_live_config(config.run))
    differing = [name for name in mine if mine[name] != theirs[name] and name not in _MAY_DIFFER]
    if differing:
        raise PenumbraError(
            f"run: {config.run} was begun with another {', '.join(differing)}; name a new folder."
        )


def _comparable(config: LiveConfig) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    paths = {name: value.resolve() for name, value in values.items() if isinstance(value, Path)}
    return values | paths


def fresh_live_method(config: LiveConfig, body: BodyModel) -> LiveMethod:
    """Build an untrained flow."""
    return LiveMethod(Priors(body, PoseMixture.load()), config.flow, config.weights)


def load_live_method(run: Path) -> LiveMethod:
    """Load a run's averaged weights, in evaluation mode.

    Raises:
        PenumbraError: if the run has no checkpoint yet.
    """
    config = load_live_config(run)
    if not (run / "last.pt").exists():
        raise PenumbraError(
            f"run: {run} holds no checkpoint yet; let python -m trainer.train_live --run {run} "
            "reach its first."
        )
    method = fresh_live_method(config, BodyModel.load(config.body))
    state = torch.load(run / "last.pt", weights_only=True)
    method.flow.load_state_dict(state["average"])
    return method.eval().requires_grad_(False)


def append_log(run: Path, entry: dict[str, Any]) -> None:
    """Add a line to `log.jsonl`."""
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")
