"""The selection of hypotheses, and their spread.

Sources: MHEntropy (Chen, Yang and Yao, ICCV 2023) for AH, WH, PJD and RD; 3D Multi-bodies (Biggs et
al., NeurIPS 2020) for the quantised selection; HuManiFlow (Sengupta, Budvytis and Cipolla, CVPR
2023) for sample-input consistency and sample diversity.

A minimum belongs to one metric. Whoever reports another metric in the same row must report it of
the same hypothesis:

    index = best_index(pa, n)
    row = choose(pa, index), choose(mpjpe, index)
"""

import warnings

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from trainer.evaluation.metrics.alignment import centred
from trainer.evaluation.metrics.groups import group_mean

_MILLIMETRES = 1000.0  # in a metre


def best_index(errors: Float[Tensor, "B N"], n: int) -> Int[Tensor, "B"]:
    """Which of the first n errors is the smallest.

    Hypotheses 1 to N - 1 must be in random order, so that the first n are the best estimate and n -
    1 random draws: best of 1 is the best estimate, and as in ProHMR's `min` it takes part in every
    minimum.
    """
    assert 1 <= n <= errors.shape[1], f"best of {n} among {errors.shape[1]}"
    return errors[:, :n].argmin(-1)


def best_of(errors: Float[Tensor, "B N"], n: int) -> Float[Tensor, "B"]:
    """The smallest of the first n errors, see `best_index`."""
    return choose(errors, best_index(errors, n))


def choose(values: Float[Tensor, "B N *R"], index: Int[Tensor, "B"]) -> Float[Tensor, "B *R"]:
    """The values of one hypothesis of each image."""
    return values[torch.arange(len(values), device=values.device), index]


def worst_of(errors: Float[Tensor, "B N"]) -> Float[Tensor, "B"]:
    """The largest error; NaN where errors are NaN, as of an image without visible joints.

    WH, the worst hypothesis, is the mean of `worst_of(per_image(pixel_errors(...), visible))`.
    Weighed with the number of visible joints (`weighted_mean(wh, visible.sum(-1))`) it is
    comparable with AH; MHEntropy gives all images the same weight (`wh.nanmean()`).
    """
    return errors.max(-1).values


def quantise(
    joints: Float[Tensor, "B N J 3"],
    n: int,
    weights: Float[Tensor, "B N"] | None = None,
    seed: int = 0,
    root: int | None = 0,
) -> Int[Tensor, "B n"]:
    """Choose n different hypotheses that stand for all N, as 3D Multi-bodies does.

    First hypothesis 0, then, in rising order, n - 1 representatives of the others: k-means of their
    joints relative to the pelvis, and of each cluster the member nearest to its centre. The
    ground truth plays no part in it, so `best_of(errors.gather(1, chosen), n)` is a fair best of n,
    an easier one than that of n random draws. Where fewer than n - 1 hypotheses differ, copies fill
    the places.

    Args:
        joints: metres.
        n: how many to keep, 1 to N.
        weights: how much each hypothesis pulls on the centres, for instance its prior likelihood;
            that of hypothesis 0 is not used. None is the same for all.
        seed: of k-means' first centres.
        root: the joint that is the pelvis; None where joints are relative to it already and it is
            not among them.
    """
    count = joints.shape[1]
    assert 1 <= n <= count, f"{n} of {count} hypotheses"
    if n in (1, count):
        return torch.arange(n, device=joints.device).expand(len(joints), n)
    others = (
        (joints[:, 1:] if root is None else centred(joints[:, 1:], root))
        .flatten(2)
        .double()
        .cpu()
        .numpy()
    )
    pull = None if weights is None else weights[:, 1:].double().cpu().numpy()
    rows = [
        _representatives(x, n - 1, None if pull is None else pull[i], seed)
        for i, x in enumerate(others)
    ]
    chosen = torch.from_numpy(np.stack(rows)).to(joints.device) + 1
    return torch.nn.functional.pad(chosen, (1, 0))


def _representatives(
    points: np.ndarray, k: int, weights: np.ndarray | None, seed: int
) -> np.ndarray:
    """Find the member nearest to the centre of each of k clusters: k different rows, rising.

    The nearest of all points would not do: one point can be nearest to two centres.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer different points than clusters: filled up below
        means = KMeans(k, n_init="auto", random_state=seed).fit(points, sample_weight=weights)
    labels = np.asarray(means.labels_)
    distance = np.linalg.norm(points - means.cluster_centers_[labels], axis=-1)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    nearest = [int(own[distance[own].argmin()]) for own in members]
    rest = np.setdiff1d(np.arange(len(points)), nearest)
    return np.sort(np.concatenate([nearest, rest[: k - len(nearest)]]).astype(np.int64))


def pixel_errors(
    pixels: Float[Tensor, "B N J 2"], target: Float[Tensor, "B J 2"]
) -> Float[Tensor, "B N J"]:
    """Distance of each hypothesis's joint to the ground truth, pixels of the 256 crop.

    AH, the average hypothesis, is its mean over hypotheses and visible joints: `group_mean(errors,
    visible)`. MHEntropy gives all images the same weight: `per_image(errors,
    visible).mean(1).nanmean()`.
    """
    return (pixels - target[:, None]).norm(dim=-1)


def sample_input_consistency(
    pixels: Float[Tensor, "B N J 2"],
    keypoints: Float[Tensor, "B J 2"],
    visible: Bool[Tensor, "B J"],
) -> Float[Tensor, ""]:
    """Mean distance in the image over hypotheses and visible joints, pixels of the 256 crop.

    The formula of AH with our weights. The two differ in what they are given: AH all hypotheses,
    this one the random draws (`pixels[:, 1:]`), and HuManiFlow pools over entries as we do, where
    MHEntropy averages images.
    """
    return group_mean(pixel_errors(pixels, keypoints), visible)


def pjd(points: Float[Tensor, "B N J D"]) -> Float[Tensor, "B J"]:
    """Per-joint diversity, in the unit of the points: (prod_a sigma_a)^(1/D) sqrt(D).

    sigma_a is the unbiased standard deviation over hypotheses on axis a. A cloud of standard
    deviation sigma in every direction has sqrt(D) sigma, the root mean square distance to its mean.

    As defined it depends on the axes, and it is zero as soon as one axis has no spread: joints that
    differ in depth alone count as not diverse at all. `sample_diversity` has neither property. A
    single hypothesis has zero.
    """
    if points.shape[1] == 1:
        return torch.zeros_like(points[:, 0, :, 0])
    size = points.shape[-1]
    return points.double().std(1).prod(-1).pow(1 / size).to(points.dtype) * size**0.5


def sample_diversity(points: Float[Tensor, "B N J D"]) -> Float[Tensor, "B J"]:
    """The mean distance of hypotheses to their mean, in the unit of the points (HuManiFlow)."""
    return (points - points.mean(1, keepdim=True)).norm(dim=-1).mean(1)


def rd(
    pjd_2d: Float[Tensor, "B J"],
    pjd_3d: Float[Tensor, "B J"],
    visible: Bool[Tensor, "B J"],
    occluded: Bool[Tensor, "B J"],
) -> Float[Tensor, ""]:
    """Relative diversity: 2D PJD of visible joints by 3D PJD of occluded ones, px per mm.

    It depends on the size of the crop and of the person, and is infinite where occluded joints do
    not spread at all. Small is good only while AH and the best hypothesis are good.

    Args:
        pjd_2d: pixels of the 256 crop.
        pjd_3d: metres.
        visible, occluded: groups, see `split`.
    """
    return group_mean(pjd_2d, visible) / (_MILLIMETRES * group_mean(pjd_3d, occluded))
