"""TensorRT plans on disk: names, manifests, and the choice of the one that fits.

A plan runs only on the TensorRT version and GPU model that it was built for, with the shapes that
it was built for. So its name says which, a JSON manifest lies beside it, and a plan that does not
fit is refused with the command that builds one that does. `trainer.export_trt` writes plans,
`engines.backends.tensorrt_engine` runs them. Nothing here needs TensorRT.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from engines.errors import PenumbraError

log = logging.getLogger(__name__)

BUILT = Path(__file__).parents[1] / "built"
PRECISIONS = ("fp16", "fp32")
"""Precisions in order of preference."""


@dataclass(frozen=True)
class Machine:
    """Software and GPU that a plan is bound to."""

    tensorrt: str
    """Full version, e.g. "10.16.1.11"."""
    sm: int
    """Compute capability of the GPU, e.g. 89."""
    gpu: str
    """The GPU's name."""


@dataclass(frozen=True)
class Manifest:
    """Facts about one plan, stored beside it."""

    onnx: str
    """Name of the ONNX file that it was built from."""
    onnx_sha256: str
    machine: Machine
    precision: str
    shapes: Mapping[str, tuple[int, ...]]
    """Full shape of every input."""
    error: Mapping[str, float]
    """Largest difference from ONNX Runtime in float32, per output, relative to that output's
    largest value.
    """
    commit: str
    """Git commit of the code that built it, or "unknown"."""


def plan_path(model: Path, machine: Machine, precision: str, folder: Path = BUILT) -> Path:
    """Return the path of a plan for `model`: `flow-1a2b3c4d-trt10.16-sm89-fp16.plan`."""
    release = ".".join(machine.tensorrt.split(".")[:2])
    return (
        folder
        / f"{model.stem}-{file_sha256(model)[:8]}-trt{release}-sm{machine.sm}-{precision}.plan"
    )


def find_plan(
    model: Path, machine: Machine, shapes: Mapping[str, tuple[int, ...]], folder: Path = BUILT
) -> tuple[Path, Manifest]:
    """Find the first plan, in the order of `PRECISIONS`, that fits model, machine and shapes.

    Raises:
        PenumbraError: if there is none, or those that are there were built for something else.
    """
    rebuild = f"build one with python -m trainer.export_trt --onnx {model}"
    refused: list[str] = []
    for precision in PRECISIONS:
        path = plan_path(model, machine, precision, folder)
        if path.is_file():
            manifest = read_manifest(path)
            mismatch = (
                _mismatch(manifest, model, machine, shapes)
                if manifest
                else "is damaged or has no manifest"
            )
            if manifest and not mismatch:
                for reason in refused:
                    log.warning("Passed over: %s; %s.", reason, rebuild)
                return path, manifest
            refused.append(f"the TensorRT plan {path.name} {mismatch}")
    if refused:
        raise PenumbraError(f"backend: {'; '.join(refused)}; {rebuild}.")
    others = ", ".join(sorted(path.name for path in folder.glob(f"{model.stem}-*.plan")))
    found = f"only {others}" if others else "none"
    wanted = plan_path(model, machine, "*", folder).name
    raise PenumbraError(
        f"backend: there is no TensorRT plan {wanted} in {folder} ({found}); {rebuild}."
    )


def write_plan(path: Path, plan: bytes, manifest: Manifest) -> None:
    """Write a plan and its manifest, the manifest last: a plan without one is not used.

    The manifest holds the plan's SHA-256 too: a damaged plan is not used either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest_path(path).unlink(missing_ok=True)
    path.write_bytes(plan)
    facts = asdict(manifest) | {"plan_sha256": hashlib.sha256(plan).hexdigest()}
    manifest_path(path).write_text(json.dumps(facts, indent=2) + "\n")


def read_manifest(plan: Path) -> Manifest | None:
    """Read the manifest beside `plan`; None where it is missing, broken or another plan's."""
    try:
        facts = json.loads(manifest_path(plan).read_text())
        if facts.pop("plan_sha256") != file_sha256(plan):
            return None
        shapes = {name: tuple(shape) for name, shape in facts.pop("shapes").items()}
        return Manifest(**{**facts, "machine": Machine(**facts["machine"]), "shapes": shapes})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def manifest_path(plan: Path) -> Path:
    """Return the path of the manifest beside `plan`."""
    return plan.with_suffix(".json")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _mismatch(
    manifest: Manifest, model: Path, machine: Machine, shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Return why a plan whose name fits cannot be used; the name holds part of each fact only."""
    if manifest.onnx_sha256 != file_sha256(model):
        return f"was built from another {manifest.onnx}"
    if manifest.machine.tensorrt != machine.tensorrt:
        return f"was built by TensorRT {manifest.machine.tensorrt}, and here is {machine.tensorrt}"
    if manifest.machine.gpu != machine.gpu:
        return f"was built for {manifest.machine.gpu}, and here is {machine.gpu}"
    for name, shape in shapes.items():
        if name in manifest.shapes and manifest.shapes[name] != tuple(shape):
            return f"takes {name} of shape {manifest.shapes[name]}, not {tuple(shape)}"
    return None
