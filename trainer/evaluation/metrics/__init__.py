"""The field's metrics of a distribution over bodies: batched torch, nothing reduced too early.

Conventions of every file: hypotheses (B, N, J, 3) in metres, number 0 being the method's own best
estimate and the others random draws; target (B, J, 3); visible (B, J) boolean; positions in the
image (B, N, J, 2) in pixels of the 256 crop. Functions return one value per joint, image or
hypothesis; `groups` averages them, and says how the field's averages differ.
"""

from trainer.evaluation.metrics.alignment import (
    Similarity,
    centred,
    joint_errors,
    mpjpe,
    pa_joint_errors,
    pa_mpjpe,
    procrustes,
    pve,
    same_distance,
)
from trainer.evaluation.metrics.groups import Groups, group_mean, per_image, split, weighted_mean
from trainer.evaluation.metrics.hypotheses import (
    best_index,
    best_of,
    choose,
    pixel_errors,
    pjd,
    quantise,
    rd,
    sample_diversity,
    sample_input_consistency,
    worst_of,
)
from trainer.evaluation.metrics.uncertainty import (
    ErrorRates,
    Moments,
    body_energy_score,
    contains,
    energy_score,
    error_rates,
    gaussian_nll,
    operating_point,
    published_moments,
    sample_moments,
)

__all__ = [
    "ErrorRates",
    "Groups",
    "Moments",
    "Similarity",
    "best_index",
    "best_of",
    "body_energy_score",
    "centred",
    "choose",
    "contains",
    "energy_score",
    "error_rates",
    "gaussian_nll",
    "group_mean",
    "joint_errors",
    "mpjpe",
    "operating_point",
    "pa_joint_errors",
    "pa_mpjpe",
    "per_image",
    "pixel_errors",
    "pjd",
    "procrustes",
    "published_moments",
    "pve",
    "quantise",
    "rd",
    "same_distance",
    "sample_diversity",
    "sample_input_consistency",
    "sample_moments",
    "split",
    "weighted_mean",
    "worst_of",
]
