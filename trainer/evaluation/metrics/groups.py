"""Means of values of joints and images over groups of them.

A mean here is the sum over all entries of the group divided by their number: an entry is one joint
of one image (and of one hypothesis). So an image weighs as much as it has joints in the group,
one without any weighs nothing, and a zero counts like any other value.

MHEntropy's release averages otherwise: first over the joints of an image, then over the images
of a batch that have such joints, then over batches regardless of their size, and it skips batches
whose mean is exactly zero, so the batches where a method has collapsed do not lower its diversity.
Without the last two oddities, its average is `per_image(values, group).nanmean()`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Groups(NamedTuple):
    """Which joints of which images belong together."""

    every: Bool[Tensor, "B J"]
    visible: Bool[Tensor, "B J"]
    occluded: Bool[Tensor, "B J"]


def split(visible: Bool[Tensor, "B J"], root: int | None = 0) -> Groups:
    """All joints, the visible ones and the occluded ones.

    Args:
        visible: whether the image shows the joint.
        root: a joint kept out of visible and occluded, though not out of all: where bodies are
            compared relative to the pelvis, its error and its spread are zero by construction. None
            where it is not among the joints. MHEntropy does the same with the wrist.
    """
    counted = torch.ones_like(visible)
    if root is not None:
        counted[:, root] = False
    return Groups(torch.ones_like(visible), visible & counted, ~visible & counted)


def group_mean(values: Float[Tensor, "B *N J"], group: Bool[Tensor, "B J"]) -> Float[Tensor, ""]:
    """The mean over all entries of the group, in float64; NaN where it has none.

    Values outside the group may be anything, NaN included; a NaN inside it is not skipped.
    """
    return values[_spread(group, values)].double().mean()


def per_image(values: Float[Tensor, "B *N J"], group: Bool[Tensor, "B J"]) -> Float[Tensor, "B *N"]:
    """Mean over an image's joints of the group, per hypothesis if any; NaN where it has none."""
    mask = _spread(group, values)
    return torch.where(mask, values, torch.zeros_like(values)).sum(-1) / mask.sum(-1)


def weighted_mean(values: Float[Tensor, "B"], weights: Tensor) -> Float[Tensor, ""]:
    """sum(weight * value) / sum(weight) in float64; NaN where all weights are zero.

    For values of images or joints; weights (B,), boolean, whole or real, are the numbers of their
    entries. A value of weight zero is not used, so it may be NaN.
    """
    assert values.shape == weights.shape and not (weights < 0).any()
    weights = weights.double()
    counted = torch.where(weights > 0, values.double(), torch.zeros_like(weights))
    return (weights * counted).sum() / weights.sum()


def _spread(group: Tensor, values: Tensor) -> Tensor:
    """The group (B, J) in the shape of values (B, ..., J)."""
    assert group.shape == (values.shape[0], values.shape[-1]), (
        f"group {group.shape}, values {values.shape}"
    )
    return group.reshape(len(group), *[1] * (values.ndim - 2), group.shape[-1]).expand_as(values)
