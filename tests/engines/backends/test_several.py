"""One network on several inputs: the same results as one after another, and errors surface."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from engines.backends.engine import AsyncEngine, open_engine, open_several
from engines.backends.several import run_each
from engines.errors import PenumbraError
from tests.support.small_graphs import SHAPES, conv_net, dense_net


class Doubling:
    """An engine that doubles a number, and notes what happens when."""

    backend = "fake"
    device = "cpu"

    def __init__(self, name: str, log: list[str], fails: bool = False) -> None:
        self.inputs = {"x": np.zeros(1)}
        self.outputs = {"y": np.zeros(1)}
        self._name = name
        self._log = log
        self._fails = fails
        self._busy = False

    def run(self) -> None:
        self.start()
        self.wait()

    def start(self) -> None:
        assert not self._busy
        self._busy = True
        self._log.append(f"start {self._name}")

    def wait(self) -> None:
        assert self._busy
        self._busy = False
        self._log.append(f"wait {self._name}")
        if self._fails:
            raise RuntimeError(f"{self._name} broke")
        self.outputs["y"][:] = 2 * self.inputs["x"]


def write(inputs: Mapping[str, np.ndarray], item: float) -> None:
    inputs["x"][:] = item


def test_several_start_before_the_first_is_waited_for_and_come_back_in_order() -> None:
    log: list[str] = []
    one, *several = (Doubling(name, log) for name in "oab")
    results = [float(out["y"][0]) for out in run_each(one, several, [1.0, 2.0, 3.0], write)]
    assert results == [2.0, 4.0, 6.0]
    assert log == ["start a", "start b", "wait a", "wait b", "start a", "wait a"]


@pytest.mark.parametrize(("items", "parallel"), [([], True), ([5.0], True), ([5.0, 6.0], False)])
def test_one_item_or_one_engine_runs_as_ever(items: list[float], parallel: bool) -> None:
    log: list[str] = []
    one, *several = (Doubling(name, log) for name in ("oab" if parallel else "o"))
    results = [float(out["y"][0]) for out in run_each(one, several, items, write)]
    assert results == [2 * item for item in items]
    assert log == ["start o", "wait o"] * len(items)


def test_an_error_surfaces_and_leaves_no_engine_at_work() -> None:
    log: list[str] = []
    one, a, c = (Doubling(name, log) for name in "oac")
    broken = Doubling("b", log, fails=True)
    found = run_each(one, [a, broken, c], [1.0, 2.0, 3.0], write)
    assert next(found)["y"][0] == 2.0
    with pytest.raises(RuntimeError, match="b broke"):
        next(found)
    assert log[-1] == "wait c"
    assert [float(out["y"][0]) for out in run_each(one, [a, c], [4.0, 5.0], write)] == [8.0, 10.0]


def test_who_gives_up_in_between_leaves_no_engine_at_work() -> None:
    log: list[str] = []
    one, *several = (Doubling(name, log) for name in "oab")
    found = run_each(one, several, [1.0, 2.0], write)
    next(found)
    found.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert log[-1] == "wait b"


@pytest.mark.parametrize("net", ["conv", "dense"])
def test_openvinos_engines_side_by_side_compute_what_one_does(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))
    model, shapes = (conv_net(tmp_path), {}) if net == "conv" else (dense_net(tmp_path), SHAPES)
    one = open_engine(model, "openvino", shapes)
    several = open_several(model, "openvino", shapes, count=3)
    if not several:
        pytest.skip("a single core has no side by side")
    assert len(several) == 3 and all(isinstance(engine, AsyncEngine) for engine in several)
    rng = np.random.default_rng(0)
    items = [
        {name: rng.standard_normal(value.shape, np.float32) for name, value in one.inputs.items()}
        for _ in range(5)
    ]

    def write_all(inputs: Mapping[str, np.ndarray], item: Mapping[str, np.ndarray]) -> None:
        for name, value in item.items():
            inputs[name][...] = value

    def results(engines: list[AsyncEngine]) -> list[dict[str, np.ndarray]]:
        found = run_each(one, engines, items, write_all)
        return [{name: value.copy() for name, value in out.items()} for out in found]

    for expected, actual in zip(results([]), results(list(several)), strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-6)


def test_backends_that_compute_one_at_a_time_have_no_several(tmp_path: Path) -> None:
    model = conv_net(tmp_path)
    assert open_several(model, "onnxruntime", count=4) == ()
    assert open_several(model, "openvino", count=1) == ()
    with pytest.raises(PenumbraError, match="'tpu' is unknown"):
        open_several(model, "tpu", count=4)
