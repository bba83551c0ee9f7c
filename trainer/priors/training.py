"""The loop that trains a network by steps: progress, validation, and going on after a kill.

    folder/state.pt       everything that the next step needs; replaced at every validation
    folder/settings.txt   what the training was started with

The random numbers of a step depend on the seed and its number only, so a training that was killed
and goes on ends with the weights of one that was not.
"""

import copy
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from engines.errors import PenumbraError

Loss = Callable[[torch.Generator], Tensor]
"""The loss of a batch that is made with the generator's random numbers."""


@dataclass(frozen=True)
class StepsConfig:
    """How long and how fast."""

    steps: int = 20_000
    learning_rate: float = 1e-3
    """At its highest; it rises over the first 5 % and falls to nothing as a cosine."""
    weight_decay: float = 1e-4
    validate_every: int = 1000


@dataclass(frozen=True)
class Run:
    """One training."""

    folder: Path
    """Keeps its state."""
    seed: int
    """Of weights and batches."""
    config: Any
    """Of the kind, and the poses, for which the state holds."""

    def claim(self) -> None:
        """Make the folder, and see that what it holds is of this training.

        Raises:
            PenumbraError: it holds a training with other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path, identity = self.folder / "settings.txt", repr((self.config, self.seed))
        if path.exists() and path.read_text() != identity:
            raise PenumbraError(
                f"run: {self.folder} holds a training with other settings; remove it, or name "
                "another folder."
            )
        path.write_text(identity)


class Validation(NamedTuple):
    """One validation."""

    step: int
    value: float


def train_steps(
    model: nn.Module,
    loss: Loss,
    validate: Callable[[], float],
    config: StepsConfig,
    run: Run,
) -> list[Validation]:
    """Train a network, and leave in it the weights that were best on validation.

    Args:
        model: trained in place.
        loss: of one batch.
        validate: what should be small, of the model as it is, which is in evaluation mode then.
        config: of the loop.
        run: which training it is; one that was killed goes on.

    Returns:
        All validations.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config.steps))
    best: dict[str, Any] = {"value": math.inf, "weights": copy.deepcopy(model.state_dict())}
    curve: list[Validation] = []
    state_file = run.folder / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        best, curve = state["best"], [Validation(*one) for one in state["curve"]]
    done = curve[-1].step if curve else 0
    for step in tqdm(range(done, config.steps), initial=done, total=config.steps, unit="step"):
        rng = torch.Generator().manual_seed((run.seed << 32) + step)
        torch.manual_seed((run.seed << 32) + step)  # of dropout
        model.train()
        optimiser.zero_grad()
        loss(rng).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % config.validate_every and step + 1 != config.steps:
            continue
        model.eval()
        value = validate()
        curve.append(Validation(step + 1, value))
        if value < best["value"]:
            best = {"value": value, "weights": copy.deepcopy(model.state_dict())}
        message = f"step {step + 1}: validation {value:.4f}, best {best['value']:.4f}"
        tqdm.write(message, file=sys.stderr)
        _save(
            state_file,
            {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "best": best,
                "curve": [tuple(one) for one in curve],
            },
        )
    model.load_state_dict(best["weights"])
    model.eval().requires_grad_(False)
    return curve


def training_facts(curve: list[Validation]) -> dict[str, Any]:
    """What the record says of a training."""
    best = min(curve, key=lambda one: one.value)
    return {"best_step": best.step, "validation_loss": round(best.value, 4)}


def half(tensor: Tensor) -> Any:
    """Return weights as the files keep them, float16."""
    return tensor.detach().to(torch.float16).numpy()


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate."""
    rise = 0.05 * steps
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / (steps - rise)))


def _save(path: Path, state: dict[str, Any]) -> None:
    """Replace the state in one step."""
    scratch = path.with_suffix(".tmp")
    torch.save(state, scratch)
    scratch.replace(path)
