"""Selection among weighted hypotheses, and one of them as a body."""

from dataclasses import fields, replace

import numpy as np
from jaxtyping import Float, Int

from engines.types import Body, Hypotheses


def take(hypotheses: Hypotheses, index: "Int[np.ndarray, 'M'] | slice") -> Hypotheses:
    """Select some of the hypotheses, their weights as they were (so they may not sum to one)."""
    return Hypotheses(
        **{field.name: getattr(hypotheses, field.name)[index] for field in fields(hypotheses)}
    )


def with_weights(hypotheses: Hypotheses, weights: Float[np.ndarray, "K"]) -> Hypotheses:
    """Replace the weights by these, normalised to sum to one."""
    weights = (weights / weights.sum()).astype(hypotheses.weights.dtype)
    return replace(hypotheses, weights=weights)


def first(hypotheses: Hypotheses, count: int) -> Hypotheses:
    """Select the first `count`; of plain samples these are plain samples again."""
    kept = take(hypotheses, slice(count))
    return with_weights(kept, kept.weights)


def body_of(hypotheses: Hypotheses, k: int = 0) -> Body:
    """Hypothesis k as a body; by default number 0, the flow's centre."""
    rotvec = hypotheses.rotvec[k].astype(float)
    return Body(
        rotvec[0],
        rotvec[1:].reshape(-1),
        hypotheses.betas[k].astype(float),
        hypotheses.transl[k].astype(float),
        hypotheses.joints[k].astype(float),
    )
