"""Write a trained flow as the ONNX file that the live system runs, with the record of its making.

    python -m trainer.export_onnx --run runs/first

`trainer.export.onnx` describes the graph, `engines.flow.model` the record.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.command import start
from trainer.export.onnx import load_body, load_flow, write_model
from trainer.runs.folder import load_scores


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to."""

    run: Path = Path("runs/first")
    out: Path = Path("engines/assets/flow.onnx")


def lineage(run: Path) -> dict[str, Any]:
    """Read how a run was made, and the run whose weights it started from, if that still exists.

    An imported run says itself what it started from; a folder of that name holds something else by
    now, perhaps the imported run.
    """
    facts = json.loads((run / "config.json").read_text())
    start = facts["starts"][0]["config"].get("start")
    if start is None or "started_from" in facts or Path(start).resolve() == run.resolve():
        return facts
    if (Path(start) / "config.json").exists():
        facts["started_from"] = lineage(Path(start))
    return facts


def main(config: ExportConfig) -> None:
    """Export and record. What was at `out` stays until the new graph has been found to be right.

    Raises:
        PenumbraError: if there is no run that has come to its end, or not one of the live system's
            method.
        RuntimeError: if the graph differs from torch.
    """
    flow = load_flow(config.run)
    facts = {"trained": lineage(config.run), "validation": load_scores(config.run)}
    worst = write_model(flow, config.out, load_body(config.run), facts)
    size = config.out.stat().st_size / 2**20
    print(f"{config.out}: {size:.1f} MiB, differs from torch by at most {worst:.1e}")


if __name__ == "__main__":
    start(main, ExportConfig)
