"""One interface for whatever is known besides the picture, and what becomes of the hypotheses then.

    posterior = reweight(person.hypotheses, SecondView(...), NonPenetration(floor, skin))
    body, spread = best(posterior), posterior_moments(posterior)

Hypotheses are draws from q(body | picture). Evidence e that depends on the picture only through the
body turns them into weighted draws of the joint posterior by Bayes' rule, p(body | picture, e) ~
q(body | picture) p(e | body): importance sampling with the flow as its proposal, so no more than a
weight has to be computed for each body. (Hypothesis 0 is the flow's centre and not a draw; among K
it is weighted as one.)

K draws are few where evidence is sharp. `effective_sample_size` tells when one or two bodies carry
all the weight: then the best body may still be good, but the spread is worth nothing, and
`min_effective` softens the evidence.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from engines.errors import PenumbraError
from engines.hypotheses import body_of, take, with_weights
from engines.kernels.moments import weighted_moments_reference
from engines.types import Body, Hypotheses, JointMoments

_BISECTIONS = 50


@runtime_checkable
class Evidence(Protocol):
    """Anything that finds some bodies likelier than others."""

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """Log probability (density) of what was observed, given each body.

        Args:
            hypotheses: in the frame of the camera that they were drawn for.

        Returns:
            Nats, up to a constant that all hypotheses share; minus infinity for a body that cannot
            be.
        """
        ...


def reweight(hypotheses: Hypotheses, *evidence: Evidence, min_effective: float = 1.0) -> Hypotheses:
    """Multiply the weights by the likelihood of each piece of evidence, and normalise.

    Args:
        hypotheses: K bodies with any weights, for example those of an earlier call.
        evidence: pieces that are independent of each other given the body. None leaves the weights
            as they are.
        min_effective: where fewer bodies than this would be left in effect, all the evidence is
            raised to the largest power below one that leaves as many, or as many as the evidence
            does not rule out altogether (tempering: Neal, Annealed importance sampling, 2001). 1
            takes the evidence at its word.

    Returns:
        The same bodies in the same order with other weights.

    Raises:
        PenumbraError: the evidence rules out every hypothesis, a likelihood is not a number, or
            `min_effective` is not between 1 and K.
    """
    count = len(hypotheses.weights)
    if not 1.0 <= min_effective <= count:
        raise PenumbraError(
            f"min_effective must be between 1 and the {count} hypotheses, not {min_effective}."
        )
    prior = _log(hypotheses.weights)
    log_likelihood = np.zeros(count)
    for piece in evidence:
        log_likelihood += _checked(piece, hypotheses)
        if np.isneginf(prior + log_likelihood).all():
            raise PenumbraError(
                f"{type(piece).__name__} leaves none of the {count} hypotheses possible; check its frame (the first camera's, "
                "metres) or give it a larger tolerance."
            )
    weights = _tempered(prior, log_likelihood, min_effective)
    return with_weights(hypotheses, weights)


def effective_sample_size(hypotheses: Hypotheses) -> float:
    """How many equally weighted bodies say as much: (sum w)^2 / sum w^2, between 1 and K (Kish,
    Survey Sampling, 1965).
    """
    return _effective(hypotheses.weights)


def select(hypotheses: Hypotheses, k: int) -> Hypotheses:
    """The k heaviest hypotheses, heaviest first, equal ones in their order; weights normalised.

    Raises:
        PenumbraError: k is not between 1 and K.
    """
    count = len(hypotheses.weights)
    if not 1 <= k <= count:
        raise PenumbraError(f"k must be between 1 and the {count} hypotheses, not {k}.")
    chosen = take(hypotheses, np.argsort(-hypotheses.weights, kind="stable")[:k])
    return with_weights(chosen, np.asarray(chosen.weights, np.float64))


def best(hypotheses: Hypotheses) -> Body:
    """The heaviest hypothesis, the first of equals: with equal weights the flow's centre."""
    return body_of(hypotheses, int(np.argmax(hypotheses.weights)))


def posterior_moments(hypotheses: Hypotheses) -> JointMoments:
    """Weighted mean and covariance of every joint, the shared distance kept apart, after the
    weights were changed.

    `engines.flow.statistics.joint_moments` puts the mean where hypothesis 0 is, whatever its
    weight, because it serves equal weights. Evidence often knows the distance better than
    hypothesis 0, so here the mean lies at the weighted mean distance, along the ray of the heaviest
    hypothesis.
    """
    heaviest = int(np.argmax(hypotheses.weights))
    joints = np.asarray(hypotheses.joints, np.float64)
    order = np.r_[heaviest, np.delete(np.arange(len(joints)), heaviest)]
    moments = weighted_moments_reference(
        joints[order], np.asarray(hypotheses.weights, np.float64)[order]
    )
    farther = moments.distance[0] - joints[heaviest, 0] @ moments.ray
    return JointMoments(
        moments.mean + farther * moments.ray, moments.cov, float(moments.distance[1]), moments.ray
    )


def _log(weights: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K"]:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(weights, np.float64))


def _checked(piece: Evidence, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
    name, values = type(piece).__name__, np.asarray(piece.log_likelihood(hypotheses), np.float64)
    assert values.shape == hypotheses.weights.shape, (
        f"{name} gave {values.shape} for {hypotheses.weights.shape}"
    )
    if np.isnan(values).any() or np.isposinf(values).any():
        raise PenumbraError(
            f"{name} gave a likelihood that is not a finite number; check the numbers it was made of."
        )
    return values


def _effective(weights: Float[np.ndarray, "K"]) -> float:
    weights = np.asarray(weights, np.float64)
    return float(weights.sum() ** 2 / (weights**2).sum())


def _powered(
    prior: Float[np.ndarray, "K"], log_likelihood: Float[np.ndarray, "K"], power: float
) -> Float[np.ndarray, "K"]:
    """exp(prior + power * log_likelihood), its largest value one; what is ruled out stays so at any
    power, zero included.
    """
    possible = np.isfinite(prior) & np.isfinite(log_likelihood)
    log_weights = np.full(len(prior), -np.inf)
    log_weights[possible] = prior[possible] + power * log_likelihood[possible]
    return np.exp(log_weights - log_weights.max())


def _tempered(
    prior: Float[np.ndarray, "K"], log_likelihood: Float[np.ndarray, "K"], min_effective: float
) -> Float[np.ndarray, "K"]:
    weights = _powered(prior, log_likelihood, 1.0)
    if _effective(weights) >= min_effective:
        return weights
    low, high = 0.0, 1.0  # power 0 has as much effect left as there can be, power 1 too little
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = _effective(_powered(prior, log_likelihood, middle)) >= min_effective
        low, high = (middle, high) if enough else (low, middle)
    return _powered(prior, log_likelihood, low)
