"""The encoder with and without the landmark network's feature map."""

import pytest
import torch

from engines.flow.features import NUM_FEATURES
from tests.support.random_pairs import TINY_ENCODER, TINY_MAP_ENCODER
from trainer.model.encoder import Encoder


@pytest.fixture
def seeing() -> Encoder:
    """With a map, whose way in, which starts at zero, is filled."""
    torch.manual_seed(0)
    encoder = Encoder(TINY_MAP_ENCODER)
    with torch.no_grad():
        encoder.from_map.weight.normal_(0, 0.05)
        encoder.from_map.bias.normal_(0, 0.5)
    return encoder.eval()


def features(count: int = 3) -> torch.Tensor:
    return torch.randn(count, NUM_FEATURES, generator=torch.Generator().manual_seed(1))


def maps(count: int = 3) -> torch.Tensor:
    return 6 * torch.rand(count, 4, 4, 288, generator=torch.Generator().manual_seed(2))


def landmarks_only(encoder: Encoder) -> Encoder:
    """The same weights in an encoder that has no map."""
    blind = Encoder(TINY_ENCODER).eval()
    blind.load_state_dict(
        {k: v for k, v in encoder.state_dict().items() if not k.startswith(("stage.", "from_map."))}
    )
    return blind


@pytest.mark.parametrize("training", [False, True])
def test_a_map_of_zeros_counts_as_missing(seeing: Encoder, training: bool) -> None:
    blind = landmarks_only(seeing)
    seeing.train(training)
    for block in seeing.blocks:
        block.eval()  # no dropout
    with torch.no_grad():
        nothing = seeing(features(), torch.zeros(3, 4, 4, 288))
        torch.testing.assert_close(nothing, blind(features(), torch.zeros(3, 0)), atol=1e-6, rtol=0)
        # Beside pictures that have one, too.
        mixed = maps()
        mixed[1] = 0
        some = seeing(features(), mixed)
    torch.testing.assert_close(some[1], nothing[1], atol=1e-6, rtol=0)
    assert (some[[0, 2]] - nothing[[0, 2]]).abs().amax(1).min() > 1e-2


def test_training_and_evaluation_see_the_same_map(seeing: Encoder) -> None:
    mixed = maps()
    mixed[1] = 0
    with torch.no_grad():
        evaluated = seeing(features(), mixed)
        seeing.train()
        for block in seeing.blocks:
            block.eval()
        torch.testing.assert_close(seeing(features(), mixed), evaluated, atol=1e-4, rtol=0)


def test_a_fresh_encoder_starts_as_if_it_had_no_map() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_MAP_ENCODER).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(features(), maps()), encoder(features(), torch.zeros(3, 4, 4, 288))
        )


def test_gradients_reach_the_last_stage(seeing: Encoder) -> None:
    seeing.train()
    mixed = maps().requires_grad_()
    there = torch.tensor([1.0, 0.0, 1.0])[:, None, None, None]
    seeing(features(), mixed * there).square().sum().backward()
    assert mixed.grad is not None
    assert (mixed.grad.flatten(1).norm(dim=1) > 0).tolist() == [True, False, True]
    assert all(p.grad is not None and (p.grad != 0).any() for p in seeing.stage.parameters())


def test_a_batch_without_any_map_still_has_gradients_for_all_processes(seeing: Encoder) -> None:
    seeing.train()
    seeing(features(), torch.zeros(3, 4, 4, 288)).square().sum().backward()
    for name, parameter in seeing.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert seeing.from_map.weight.grad is not None and (seeing.from_map.weight.grad == 0).all()


def test_maps_may_be_stored_in_half_precision(seeing: Encoder) -> None:
    stored = maps().half()
    with torch.no_grad():
        torch.testing.assert_close(
            seeing(features(), stored), seeing(features(), stored.float()), atol=0, rtol=0
        )


def test_without_a_map_nothing_of_it_is_looked_at() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_ENCODER).eval()
    with torch.no_grad():
        expected = encoder(features(), torch.zeros(3, 0))
        torch.testing.assert_close(
            encoder(features(), torch.full((3, 4, 4, 288), torch.nan)), expected, atol=0, rtol=0
        )
    assert not any("stage" in name for name, _ in encoder.named_parameters())
