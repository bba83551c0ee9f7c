"""Make a run folder of an exported flow, so that who has no more than the `.onnx` can score it,
calibrate it or go on from it.

    python -m trainer.import_onnx --out runs/shipped
    python -m trainer.train --start runs/shipped --run runs/mine    # train_live for a live flow

The exporter renames and transposes weights as it likes. So a flow of the same sizes is exported
whose weights are known, and where each of them ended up is where the wanted one is found: the
result is exact. (Weights that are equal, as some of an untrained flow are, are merged by the
exporter and cannot be told apart.)
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from trainer.command import start
from trainer.export.onnx import export
from trainer.live.folder import fresh_live_method, live_config_of
from trainer.live.method import LiveMethod
from trainer.methods.mhentropy import MHEntropy
from trainer.model.anchored_flow import AnchoredFlow
from trainer.model.flow import PoseFlow
from trainer.runs.folder import LIVE, check_new, config_of, fresh_method


@dataclass(frozen=True)
class ImportConfig:
    """What to import, and where to."""

    out: Path = Path("runs/shipped")
    model: Path | None = None
    """An `.onnx` with its `.json`; the shipped one when None."""


def initializers(path: Path) -> list[np.ndarray]:
    """The constants of a graph, in its order."""
    return [numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]


def weights_like(
    known: dict[str, Tensor], graph: list[np.ndarray], wanted: list[np.ndarray]
) -> dict[str, Tensor]:
    """The weights of one graph, by where those of another, which are known, are.

    Args:
        known: distinct weights by name; what no graph holds, because it was folded away, is
            returned as it is.
        graph: constants of their export.
        wanted: constants of a graph of the same sizes.
    """
    found = dict(known)
    for mine, theirs in zip(graph, wanted, strict=True):
        for name, value in known.items():
            if value.ndim and np.array_equal(mine, value.numpy()):
                found[name] = torch.from_numpy(theirs.copy())
            elif value.ndim == 2 and np.array_equal(mine.T, value.numpy()):
                found[name] = torch.from_numpy(theirs.T.copy())
    return found


def main(config: ImportConfig) -> None:
    """Write `config.json`, `scores.json` and `last.pt`.

    Raises:
        PenumbraError: if the folder holds something, the model is broken, or was made by another
            version of the trainer.
    """
    check_new(config.out)
    model = FlowModel.load(config.model)
    if not {"trained", "validation"} <= model.record.keys():
        raise PenumbraError(
            f"The record of {model.onnx} does not say how it was trained; export it again."
        )
    method = _fresh(model.record["trained"])
    flow = method.flow
    with tempfile.TemporaryDirectory() as folder:
        flow.load_state_dict(flow.state_dict() | _weights(flow, model.onnx, Path(folder)))
        difference = export(flow.eval(), Path(folder) / "again.onnx")
    config.out.mkdir(parents=True, exist_ok=True)
    if isinstance(method, LiveMethod):
        state = {"flow": flow.state_dict(), "average": flow.state_dict(), "done": 0}
    else:
        state = {"method": method.state_dict(), "average": method.state_dict(), "done": 0}
    torch.save(state | {"skipped": 0}, config.out / "last.pt")
    (config.out / "scores.json").write_text(json.dumps(model.record["validation"], indent=2) + "\n")
    (config.out / "config.json").write_text(json.dumps(model.record["trained"], indent=2) + "\n")
    print(
        f"{config.out}: a run that can be scored, calibrated and started from; exported again it "
        f"differs by {difference:.1e}"
    )


def _fresh(trained: dict[str, Any]) -> MHEntropy | LiveMethod:
    """Build an untrained method like the one that a record describes."""
    if trained.get("kind") == LIVE:
        config = live_config_of(trained)
        return fresh_live_method(config, BodyModel.load(config.body))
    method = fresh_method(config_of(trained))
    assert isinstance(method, MHEntropy), "nothing else is exported"
    return method


def _weights(flow: PoseFlow | AnchoredFlow, model: Path, scratch: Path) -> dict[str, Tensor]:
    """Those of an exported flow; `flow` has its sizes and gets other weights."""
    torch.manual_seed(0)
    learnt = [*dict(flow.named_parameters()), "mean", "std"]
    known = {
        name: 0.02 * torch.randn_like(value)
        for name, value in flow.state_dict().items()
        if name in learnt
    }
    flow.load_state_dict(flow.state_dict() | known)
    export(flow.eval(), scratch / "probe.onnx")
    graph, wanted = initializers(scratch / "probe.onnx"), initializers(model)
    if [a.shape for a in graph] != [a.shape for a in wanted]:
        raise PenumbraError(
            f"{model} does not have the layers that its record says; export it again."
        )
    return weights_like(known, graph, wanted)


if __name__ == "__main__":
    start(main, ImportConfig)
