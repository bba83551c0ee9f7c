"""CVAE: its divergence is torch's, and recognition sees the true body."""

import torch

from engines.body import BodyModel
from tests.support.random_samples import priors, random_batch
from trainer.methods import cvae
from trainer.model.encoder import EncoderConfig

ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)


def test_divergence_is_that_of_torch() -> None:
    mean, log_std = torch.randn(5, 3), torch.randn(5, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, log_std.exp()), normal(0.0, 1.0)).sum(
        -1
    )
    torch.testing.assert_close(cvae._divergence(mean, log_std), expected)


def test_recognition_carries_the_truth_into_the_reconstruction(body: BodyModel) -> None:
    """Another true body in the same picture is reconstructed differently, while draws stay as they
    are.
    """
    torch.manual_seed(0)
    batch = random_batch(4, 3, body)
    method = cvae.CVAE("3d", priors(body), cvae.CVAEConfig(latent=4, hidden=32), ENCODER).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    another = batch._replace(rotvec=batch.rotvec.roll(1, 0), betas=batch.betas + 1)
    h = method.encoder(batch.features)
    means = [method.recognition(method._recognised(b, h))[0] for b in (batch, another)]
    decoded = [method.decoder(h, mean[:, None]).rotvec for mean in means]
    assert (decoded[0] - decoded[1]).abs().max() > 1e-3
