"""Imports point one way, and a CPU run loads nothing heavy."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

GROUND = {"engines"}
TRAINER = (
    *("body", "motion", "render", "model", "data", "synthetic", "multiview", "priors", "methods"),
    *("runs", "estimation", "evaluation", "live", "gravity", "datasets", "experiments"),
)
"""The trainer's libraries: each imports only those to its left."""
LIBRARIES = {f"trainer.{name}" for name in (*TRAINER, "export")}
MAY_IMPORT: dict[str, set[str]] = {
    "engines": set(),
    "engines.backends": GROUND,
    "engines.kernels": GROUND,
    "engines.blazepose": GROUND | {"engines.backends"},
    "engines.flow": GROUND | {"engines.backends", "engines.kernels"},
    "engines.fitting": GROUND | {"engines.kernels", "engines.flow"},
    "engines.priors": GROUND | {"engines.kernels", "engines.fitting"},
    "engines.gravity": GROUND,
    "engines.evidence": GROUND | {"engines.kernels"},
    "calib": GROUND,
    "realtime.timing": GROUND,
    "realtime.capture": GROUND | {"realtime.timing"},
    "realtime.stream": GROUND | {"realtime.timing"},
    "realtime.view": GROUND | {"engines.kernels", "realtime.timing"},
    "realtime.world": GROUND | {"engines.gravity"},
    "realtime": GROUND
    | {
        f"engines.{name}"
        for name in ("backends", "blazepose", "fitting", "flow", "gravity", "kernels", "priors")
    }
    | {f"realtime.{name}" for name in ("timing", "capture", "stream", "view", "world")}
    | {"calib"},
    "run_demo": GROUND | {"realtime", "realtime.stream", "realtime.view"},
    **{
        f"trainer.{name}": {"engines.*", "calib"} | {f"trainer.{left}" for left in TRAINER[:i]}
        for i, name in enumerate(TRAINER)
    },
    "trainer.export": {"engines.*"}
    | {f"trainer.{name}" for name in ("model", "methods", "runs", "live")},
    "trainer": {"engines.*", "calib"} | LIBRARIES,
    "trainer.fit": {"engines.*", "calib", "realtime.*", "trainer"} | LIBRARIES,  # writes archives
    "trainer.gravity_footage": {"engines.*", "realtime.world", "trainer"} | LIBRARIES,  # as live
}
"""What each room may import besides itself, its own prefix being the longest that fits; `engines.*`
stands for all of `engines`.
"""
COMMANDS = {"trainer.command"}
"""What the trainer's commands do import of each other's room: how they start."""
HEAVY = {
    "torch",
    "mediapipe",
    "open3d",
    "trainer",
    "onnx",
    "tensorrt",
    "scipy",
    "sklearn",
    "tensorflow",
}


def imports(file: Path) -> set[str]:
    """Every module that a file imports anywhere, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if name in MODULES} or {node.module}
    return found


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    fitting = [room for room in MAY_IMPORT if f"{module}.".startswith(f"{room}.")]
    return max(fitting, key=len)


def is_ours(module: str) -> bool:
    return module.split(".")[0] in {room.split(".")[0] for room in MAY_IMPORT}


FILES = [
    ROOT / "run_demo.py",
    *(
        file
        for room in ("engines", "calib", "realtime", "trainer")
        for file in (ROOT / room).rglob("*.py")
    ),
]
MODULES = {module_of(file) for file in FILES}
GRAPH = {module_of(file): {name for name in imports(file) if is_ours(name)} for file in FILES}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    members = [module for module in GRAPH if room_of(module) == room]
    assert members
    allowed = MAY_IMPORT[room] | {room}
    for module in members:
        for imported in GRAPH[module]:
            below = room_of(imported)
            whole = f"{below.split('.')[0]}.*"
            assert below in allowed or whole in allowed, f"{module} imports {imported}"


def test_no_module_imports_itself_through_others() -> None:
    TopologicalSorter(GRAPH).prepare()  # raises CycleError and names the circle


def test_nobody_imports_a_command_of_the_trainer() -> None:
    commands = {module for module in GRAPH if room_of(module) == "trainer"} - COMMANDS
    for module, imported in GRAPH.items():
        assert not imported & (commands - {"trainer"}), f"{module} imports a command"


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from trainer import flow\n    import torch.nn\n")
    assert imports(tmp_path / "a.py") == {"trainer", "torch.nn"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    "module", ["run_demo", "realtime.session", "realtime.view.viewer", "realtime.subscribe"]
)
def test_a_run_without_gpu_imports_nothing_heavy(module: str) -> None:
    done = python(f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_subscribing_needs_neither_numpy_nor_opencv() -> None:
    done = python(
        "import sys, realtime.subscriber; print(sorted({'numpy', 'cv2'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("package", ["run_demo", "realtime", "engines", "calib", "trainer"])
def test_every_package_imports_on_its_own(package: str) -> None:
    done = python(f"import {package}")
    assert done.returncode == 0, done.stderr
