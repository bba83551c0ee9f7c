"""Imports point one way, and a CPU run loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ALLOWED = {
    "run_demo": {"run_demo", "realtime", "engines"},
    "realtime": {"realtime", "engines", "calib"},
    "engines": {"engines"},
    "calib": {"calib", "engines"},
    "trainer": {"trainer", "engines", "calib"},
}
"""What each of our packages may import of ours."""
OURS = {*ALLOWED, "tests"}
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
            found.add(node.module)
    return found


def files(package: str) -> list[Path]:
    return (
        [ROOT / "run_demo.py"] if package == "run_demo" else sorted((ROOT / package).rglob("*.py"))
    )


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_follow_the_arrows(package: str) -> None:
    assert files(package)
    for file in files(package):
        for module in imports(file):
            if module.split(".")[0] in OURS:
                parts = module.split(".")
                prefixes = {".".join(parts[: i + 1]) for i in range(len(parts))}
                assert prefixes & ALLOWED[package], f"{file.relative_to(ROOT)} imports {module}"


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
