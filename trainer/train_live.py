"""Train the live system's flow on synthetic samples, made anew in every step.

    OPENBLAS_NUM_THREADS=1 python -m trainer.train_live --run runs/live --minutes 120
    python -m trainer.export_onnx --run runs/live

Samples come from `trainer.synthetic`; with `--rendered` a share of them are rendered ones,
perturbed, whose landmarks are what the network really returns. The objective
(`trainer.live.method`) is the likelihood of the true body beside the error of the flow's centre,
which users read as the best estimate.

A run folder holds the configuration, the commit, `log.jsonl` with losses and scores, and `last.pt`,
from which a killed run goes on. `python -m trainer.footage` scores the exported flow on real
recordings.
"""

import dataclasses

import torch
from tqdm import tqdm

from engines.body import BodyModel
from trainer.command import start
from trainer.data.samples import Batch
from trainer.evaluation.score import Scores, score
from trainer.live import folder
from trainer.live.config import LiveConfig
from trainer.live.training import LiveTraining
from trainer.live.validation import validation_samples
from trainer.runs.folder import write_scores

LOG_EVERY = 50
"""Steps between two entries of the losses in the log."""


def run(config: LiveConfig) -> Scores:
    """Train, or go on with a run that was stopped.

    Returns:
        The last scores of the averaged weights on validation subjects.

    Raises:
        PenumbraError: if the run was begun with other settings, or something is missing or does not
            fit.
    """
    folder.check_same(config)
    torch.set_num_threads(config.threads)
    body = BodyModel.load(config.body)
    training = LiveTraining(config, body)
    config.run.mkdir(parents=True, exist_ok=True)
    last = config.run / "last.pt"
    if last.exists():
        training.resume(last)
    elif config.start is not None:
        training.start_from(config.start / "last.pt")
    folder.record_start(config, training.done, training.num_rendered)
    validation = validation_samples(config, body)
    _train(training, validation)
    training.save(last)
    scores = _evaluate(training, validation)
    write_scores(config.run, dataclasses.asdict(scores))
    return scores


def _train(training: LiveTraining, validation: Batch) -> None:
    """Take the steps that are left."""
    config = training.config
    with tqdm(initial=training.done, total=config.steps, unit="step") as bar:
        while training.progress < 1:
            losses = {name: value.item() for name, value in training.step().items()}
            done = training.done
            bar.update()
            if done % LOG_EVERY == 0:
                bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
                entry = {"step": done, "seconds": round(training.spent, 1), "losses": losses}
                folder.append_log(config.run, entry | {"skipped": training.skipped})
            if done % config.checkpoint_every == 0:
                training.save(config.run / "last.pt")
            if done % config.evaluate_every == 0 and training.progress < 1:
                _evaluate(training, validation)


def _evaluate(training: LiveTraining, validation: Batch) -> Scores:
    scores = score(training.average, validation)
    entry = {"step": training.done, "scores": dataclasses.asdict(scores)}
    folder.append_log(training.config.run, entry)
    tqdm.write(f"step {training.done}: {scores}")
    return scores


if __name__ == "__main__":
    start(run, LiveConfig)
