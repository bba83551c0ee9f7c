"""Modules, batches and noise in float64, for comparisons with autograd."""

from typing import TypeVar

import torch
from torch import Tensor

from trainer.data.samples import Batch

Net = TypeVar("Net", bound=torch.nn.Module)


def disturbed(module: Net, spread: float = 0.1) -> Net:
    """In float64 and with all parameters moved, so that nothing is zero or the identity as at the
    start.
    """
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return module.double().eval()


def double(batch: Batch) -> Batch:
    return Batch(*(field.double() for field in batch))


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
