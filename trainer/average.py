"""Average the weights of runs of the live flow that started from one another.

    python -m trainer.average --runs runs/shipped runs/live --out runs/averaged
    python -m trainer.export_onnx --run runs/averaged

The mean of weights that lie in one valley of the loss often does better than each of them (Wortsman
et al., Model soups, ICML 2022): what a later run has learnt, without going all the way. The result
is a run folder like others: scored, to be exported, calibrated or started from. Its configuration
is that of the last run.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.command import start
from trainer.evaluation.score import score
from trainer.live.folder import is_live, load_live_config, load_live_method
from trainer.live.validation import validation_samples
from trainer.runs.folder import check_new, read_facts, write_scores


@dataclass(frozen=True)
class AverageConfig:
    """What to average."""

    runs: tuple[Path, ...]
    """At least two; all count alike."""
    out: Path = Path("runs/averaged")


def main(config: AverageConfig) -> None:
    """Write `config.json`, `last.pt` and `scores.json`.

    Raises:
        PenumbraError: there are fewer than two runs, one is none of the live flow or of another
            size, or the folder holds something.
    """
    if len(config.runs) < 2:
        raise PenumbraError("runs: an average needs at least two; name more.")
    check_new(config.out)
    for run in config.runs:
        if not is_live(run) or not (run / "last.pt").exists():
            raise PenumbraError(f"runs: {run} holds no weights of the live flow; name another.")
    average = mean_of([_weights(run) for run in config.runs])
    config.out.mkdir(parents=True, exist_ok=True)
    facts = read_facts(config.runs[-1])
    facts["average_of"] = [str(run) for run in config.runs]
    (config.out / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    torch.save(
        {"flow": average, "average": average, "done": 0, "skipped": 0}, config.out / "last.pt"
    )
    live = load_live_config(config.out)
    scores = score(
        load_live_method(config.out), validation_samples(live, BodyModel.load(live.body))
    )
    write_scores(config.out, dataclasses.asdict(scores))
    print(f"{config.out}: {scores}")


def _weights(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "last.pt", weights_only=True)["average"]


def mean_of(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average weights by name; those that are no floating-point numbers are the last ones'.

    Raises:
        PenumbraError: if names or shapes differ.
    """
    shapes = [{name: value.shape for name, value in one.items()} for one in weights]
    if any(one != shapes[0] for one in shapes):
        raise PenumbraError("runs: their flows have different sizes; name runs of one flow.")
    return {
        name: torch.stack([one[name] for one in weights]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in weights[-1].items()
    }


if __name__ == "__main__":
    start(main, AverageConfig)
