"""The contract of every method: what its loss may see, what its draws are, and that it learns."""

from typing import cast

import pytest
import torch
from torch import Tensor

from engines.body import BodyModel
from tests.support.random_samples import TINY, priors, random_batch
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.cvae import CVAEConfig
from trainer.methods.humaniflow import HuManiFlowConfig
from trainer.methods.mdn import MDNConfig
from trainer.methods.method import Method, Supervision
from trainer.methods.mhentropy import MHEntropyConfig
from trainer.methods.multibodies import MultiBodiesConfig
from trainer.methods.prohmr import ProHMRConfig
from trainer.methods.registry import METHOD_NAMES, MethodConfigs, MethodName, build
from trainer.methods.spin import SPINConfig, SpinFit
from trainer.model.encoder import EncoderConfig
from trainer.model.glow import GlowConfig
from trainer.model.losses import joint_distance
from trainer.model.tree_flow import TreeFlowConfig

ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)
CONFIGS = MethodConfigs(
    spin=SPINConfig(fit=SpinFit(steps=3)),
    mdn=MDNConfig(components=3),
    cvae=CVAEConfig(latent=4, hidden=32),
    multibodies=MultiBodiesConfig(heads=4),
    prohmr=ProHMRConfig(GlowConfig(layers=3, hidden=24, depth=1)),
    humaniflow=HuManiFlowConfig(TreeFlowConfig(shared=24, context=8, hidden=8, bins=4)),
    mhentropy=MHEntropyConfig(flow=TINY),
)
HAS_DENSITY = {"mdn", "humaniflow", "mhentropy"}
"""Methods whose draws have a density."""
HAS_LOG_PROB = {"mdn", "mhentropy"}
"""Methods that give whole bodies a density."""
SPREADS = {"mdn", "cvae", "prohmr", "humaniflow", "mhentropy"}
"""Methods whose draws are random, but for number 0."""
SLOW = {"spin", "mdn", "multibodies", "prohmr", "humaniflow"}
"""Methods that take longer than a second or two for sixty steps."""
LEARNING = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in METHOD_NAMES
]


@pytest.fixture(scope="module")
def batch(body: BodyModel) -> Batch:
    return random_batch(5, 2, body)


@pytest.fixture(scope="module")
def first_samples(body: BodyModel) -> Batch:
    """What methods take their scales from."""
    return random_batch(64, 1, body)


def fresh(
    name: MethodName, supervision: Supervision, body: BodyModel, first_samples: Batch
) -> Method:
    torch.manual_seed(0)
    method = build(name, supervision, priors(body), CONFIGS, ENCODER)
    method.prepare(first_samples)
    return method


def disturbed(method: Method) -> Method:
    """The method with all parameters moved, so that no layer is zero as at the start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return method.eval()


def without_3d(batch: Batch) -> Batch:
    """The batch without what only 3D labels say; targets of occluded joints are wrong."""
    wrong = {
        name: torch.full_like(getattr(batch, name), torch.nan)
        for name in ("rotvec", "betas", "camera", "joints")
    }
    occluded = batch.visible[..., None] == 0
    return batch._replace(target=torch.where(occluded, 50.0, batch.target), **wrong)


def center_error(method: Method, batch: Batch) -> float:
    """MPJPE of number 0, metres."""
    with torch.no_grad():
        bodies = method.draw(batch, 1, StepRng(0, 0)).bodies
        joints = method.priors.joints(batch, bodies)
        return joint_distance(joints[:, 0], batch.joints).mean().item()


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_loss_is_finite_and_its_gradients_reach_every_parameter(
    name: MethodName,
    supervision: Supervision,
    body: BodyModel,
    batch: Batch,
    first_samples: Batch,
) -> None:
    method = disturbed(fresh(name, supervision, body, first_samples))
    total, losses = method(batch, StepRng(0, 0))
    total.backward()
    for value in (total, *losses.values()):
        assert value.shape == () and value.isfinite()
    for key, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert (parameter.grad != 0).any(), key


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_2d_vis_ignores_3d_labels_and_occluded_joints(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    found: list[dict[str, Tensor]] = []
    for samples, labelled in (
        (first_samples, batch),
        (without_3d(first_samples), without_3d(batch)),
    ):
        method = fresh(name, "2d-vis", body, samples)
        total, losses = method(labelled, StepRng(0, 0))
        total.backward()
        gradients = {f"d {key}": p.grad for key, p in method.named_parameters()}
        gradients = {key: value for key, value in gradients.items() if value is not None}
        found.append({"total": total, **losses, **gradients, **method.state_dict()})
    right, wrong = found
    assert right.keys() == wrong.keys()
    for key, value in right.items():
        torch.testing.assert_close(wrong[key], value, atol=0, rtol=0, msg=key)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_2d_vis_looks_at_visible_joints(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = fresh(name, "2d-vis", body, first_samples)
    total, _ = method(batch, StepRng(0, 0))
    away, _ = method(batch._replace(target=batch.target + 0.5), StepRng(0, 0))
    assert away > total


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_3d_supervision_looks_at_3d_labels(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = fresh(name, "3d", body, first_samples)
    total, _ = method(batch, StepRng(0, 0))
    another = batch.rows(torch.tensor([1, 2, 3, 4, 0]))
    labels = {key: getattr(another, key) for key in ("rotvec", "betas", "camera", "joints")}
    other, _ = method(batch._replace(**labels), StepRng(0, 0))
    assert (total - other).abs() > 1e-2


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_draws_have_their_shapes_and_come_from_the_image_only(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = disturbed(fresh(name, "3d", body, first_samples))
    with torch.no_grad():
        samples = method.draw(batch, 6, StepRng(0, 0))
        blind = without_3d(batch)._replace(target=torch.zeros(5, 24, 2), visible=torch.zeros(5, 24))
        again = method.draw(blind, 6, StepRng(0, 0))
    shapes = [tuple(part.shape) for part in samples.bodies]
    assert shapes == [(5, 6, 24, 3), (5, 6, 10), (5, 6, 3)]
    assert (samples.log_q is not None) == (name in HAS_DENSITY)
    if samples.log_q is not None:
        assert samples.log_q.shape == (5, 6) and samples.log_q.isfinite().all()
    torch.testing.assert_close(again, samples, atol=0, rtol=0)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_number_0_is_not_random_and_the_others_are_where_they_should_be(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = disturbed(fresh(name, "3d", body, first_samples))
    with torch.no_grad():
        samples = method.draw(batch, 4, StepRng(0, 0)).bodies
        others = method.draw(batch, 9, StepRng(0, 1)).bodies
    torch.testing.assert_close(others.at(0), samples.at(0))
    apart = (others.rotvec[:, 1, 1:] - samples.rotvec[:, 1, 1:]).abs().amax((1, 2))
    assert ((apart > 1e-3) == (name in SPREADS)).all()


@pytest.mark.parametrize("name", sorted(HAS_LOG_PROB))
def test_draws_have_the_density_that_log_prob_gives_them(
    name: str, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = disturbed(fresh(cast(MethodName, name), "3d", body, first_samples))
    with torch.no_grad():
        samples = method.draw(batch, 2, StepRng(1, 2))
        second = samples.bodies.at(1)
        drawn = batch._replace(
            rotvec=second.rotvec[:, 0], betas=second.betas[:, 0], camera=second.camera[:, 0]
        )
        density = method.log_prob(drawn)
    assert density is not None and samples.log_q is not None
    single = second.rotvec[:, 0, 0].norm(dim=-1) < 1.5  # no twin of the orientation
    assert single.any()
    torch.testing.assert_close(density[single], samples.log_q[single, 1], atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_other_methods_have_no_log_prob(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    density = fresh(name, "3d", body, first_samples).log_prob(batch)
    assert (density is not None) == (name in HAS_LOG_PROB)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_method_is_saved_and_loaded_without_the_priors(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = disturbed(fresh(name, "3d", body, first_samples))
    state = method.state_dict()
    assert not any(key.startswith("priors") for key in state)
    other = build(name, "3d", priors(body), CONFIGS, ENCODER).eval()
    other.load_state_dict(state)
    with torch.no_grad():
        expected = method.draw(batch, 3, StepRng(0, 0))
        torch.testing.assert_close(other.draw(batch, 3, StepRng(0, 0)), expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", LEARNING)
def test_a_few_steps_bring_number_0_to_the_true_body(
    name: MethodName, body: BodyModel, batch: Batch, first_samples: Batch
) -> None:
    method = fresh(name, "3d", body, first_samples)
    before = center_error(method, batch)
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(120):
        optimiser.zero_grad()
        method(batch, StepRng(0, step))[0].backward()
        optimiser.step()
    factor = 0.4 if name in {"spin", "mdn", "multibodies"} else 0.5
    assert center_error(method, batch) < factor * before
