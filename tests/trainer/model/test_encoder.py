"""The encoder that all methods share."""

import torch

from engines.flow.features import NUM_FEATURES
from tests.support.random_samples import TINY_ENCODER
from trainer.model.encoder import Encoder


def test_it_gives_one_vector_for_each_row_of_features() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_ENCODER).eval()
    features = torch.randn(3, NUM_FEATURES)
    with torch.no_grad():
        h = encoder(features)
        assert h.shape == (3, TINY_ENCODER.width) and h.isfinite().all()
        torch.testing.assert_close(encoder(features[1:2]), h[1:2])
    assert (h[0] - h[1]).abs().max() > 1e-3


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_ENCODER)
    encoder(torch.randn(3, NUM_FEATURES)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_ENCODER)
    features = torch.randn(3, NUM_FEATURES)
    assert not torch.equal(encoder(features), encoder(features))
    encoder.eval()
    torch.testing.assert_close(encoder(features), encoder(features), atol=0, rtol=0)
