"""The landmark network's last stage in torch is the one inside the imported network, and goes on
learning.
"""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from engines.blazepose.models import landmarker_model
from trainer.model.last_stage import LastStage


@pytest.fixture(scope="module")
def stage() -> LastStage:
    return LastStage.load()


@pytest.fixture(scope="module")
def inner(
    stage: LastStage, tmp_path_factory: pytest.TempPathFactory
) -> onnxruntime.InferenceSession:
    """The imported network with its last stage's result as an output too."""
    model = onnx.load(str(landmarker_model()))
    model.graph.output.append(onnx.ValueInfoProto(name=stage._last))
    path: Path = tmp_path_factory.mktemp("onnx") / "inner.onnx"
    onnx.save(model, str(path))
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def picture(seed: int) -> np.ndarray:
    """Smooth noise, RGB in [0, 1]."""
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (256, 256), mode="bilinear").numpy()


def test_it_says_what_the_landmark_networks_heads_are_told(
    stage: LastStage, inner: onnxruntime.InferenceSession
) -> None:
    for seed in range(3):
        map, last = inner.run(["map", stage._last], {"image": picture(seed)})
        assert map.shape == (1, 4, 4, 288)
        with torch.no_grad():
            ours = stage(torch.from_numpy(map))
        assert ours.shape == (1, LastStage.size)
        scale = np.abs(last).max()
        assert scale > 0.1  # it says something
        np.testing.assert_allclose(ours.numpy(), last.reshape(1, -1), atol=1e-5 * scale, rtol=0)


def test_pictures_of_a_batch_do_not_see_one_another(stage: LastStage) -> None:
    maps = 6 * torch.rand(3, 4, 4, 288, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = stage(maps)
        for i in range(3):
            torch.testing.assert_close(stage(maps[i : i + 1])[0], together[i], atol=1e-4, rtol=1e-4)
        assert stage(maps[:0]).shape == (0, LastStage.size)


def test_every_weight_learns(stage: LastStage) -> None:
    learner = copy.deepcopy(stage)
    maps = 6 * torch.rand(4, 4, 4, 288, generator=torch.Generator().manual_seed(0))
    learner(maps).square().sum().backward()
    names = [name for name, _ in learner.named_parameters()]
    assert len(names) > 10
    for name, parameter in learner.named_parameters():
        assert (
            parameter.grad is not None
            and torch.isfinite(parameter.grad).all()
            and (parameter.grad != 0).any()
        ), name


def test_its_weights_are_kept_with_the_method(stage: LastStage) -> None:
    other = copy.deepcopy(stage)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01)
    maps = torch.ones(1, 4, 4, 288)
    assert not torch.allclose(other(maps), stage(maps))
    other.load_state_dict(stage.state_dict())
    torch.testing.assert_close(other(maps), stage(maps), atol=0, rtol=0)
