"""Evidence from outside the image, and what it does to the weights of the hypotheses.

    posterior = reweight(person.hypotheses, SecondView(...), NonPenetration(floor, skin))
    body = best(posterior)
    moments = posterior_moments(posterior)

Hypotheses are samples from q(body | image). Evidence e that depends on the image only through the
body turns them into weighted samples of the joint posterior by Bayes' rule,

    p(body | image, e)  proportional to  q(body | image) p(e | body)

which is importance sampling with the flow as its proposal: one weight per body. (Hypothesis 0 is
the flow's centre and not a sample; among K it is weighted as one.)

K samples are few where evidence is sharp. `effective_sample_size` tells when one or two bodies
carry all the weight: then the best body may still be good, but the covariance is worth nothing, and
`min_effective` tempers the evidence.
"""

from dataclasses import dataclass
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
    """A likelihood of bodies."""

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """Log probability (density) of what was observed, given each body.

        Args:
            hypotheses: K bodies, in the frame of the camera that they were sampled for.

        Returns:
            Nats, up to a constant that all hypotheses share; minus infinity for a body that is
            impossible.
        """
        ...


@dataclass(frozen=True)
class TopDensity:
    """Rules out all but the `k` hypotheses with the highest `log_q`; those keep their weights.

    This is selection and not Bayes' rule: the density is already in how often a body was sampled.
    It cuts off the tails, towards the mode as k falls, and so makes the covariance too small.
    """

    k: int

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """0 for the k densest, the first of ties; minus infinity for the others.

        Raises:
            PenumbraError: k is not between 1 and K, or the hypotheses carry no density.
        """
        count = len(hypotheses.log_q)
        if not 1 <= self.k <= count:
            raise PenumbraError(
                f"k: must be between 1 and the {count} hypotheses, not {self.k}; choose one in "
                "between."
            )
        if np.isnan(hypotheses.log_q).any():
            raise PenumbraError(
                "log_q: is missing from these hypotheses, and TopDensity needs it; take them from "
                "the flow or from the stream."
            )
        values = np.full(count, -np.inf)
        values[np.argsort(-hypotheses.log_q, kind="stable")[: self.k]] = 0.0
        return values


def reweight(hypotheses: Hypotheses, *evidence: Evidence, min_effective: float = 1.0) -> Hypotheses:
    """Multiply the weights by the likelihood of each piece of evidence, and normalise.

    Args:
        hypotheses: K bodies with any weights, for example those of an earlier call.
        evidence: pieces that are independent of each other given the body. None leaves the weights
            as they are.
        min_effective: the smallest effective sample size. Where it would fall below, all the
            evidence is raised to the largest power below one that keeps it, or keeps as many bodies
            as are possible (tempering: Neal, Annealed importance sampling, 2001). 1 never tempers.

    Returns:
        The same bodies in the same order with other weights.

    Raises:
        PenumbraError: the evidence rules out every hypothesis, a likelihood is not a number, or
            `min_effective` is not between 1 and K.
    """
    count = len(hypotheses.weights)
    if not 1.0 <= min_effective <= count:
        raise PenumbraError(
            f"min_effective: must be between 1 and the {count} hypotheses, not {min_effective}; "
            "choose one in between."
        )
    prior = _log(hypotheses.weights)
    log_likelihood = np.zeros(count)
    for piece in evidence:
        log_likelihood += _checked(piece, hypotheses)
        if np.isneginf(prior + log_likelihood).all():
            raise PenumbraError(
                f"{type(piece).__name__}: leaves none of the {count} hypotheses possible; check "
                "its frame (the first camera's, metres) or give it a larger tolerance."
            )
    weights = _tempered(prior, log_likelihood, min_effective)
    return with_weights(hypotheses, weights)


def effective_sample_size(hypotheses: Hypotheses) -> float:
    """Effective sample size (sum w)^2 / sum w^2, between 1 and K (Kish, Survey Sampling, 1965)."""
    return _effective(hypotheses.weights)


def select(hypotheses: Hypotheses, k: int) -> Hypotheses:
    """The k hypotheses of largest weight, largest first, ties in their order; weights normalised.

    Raises:
        PenumbraError: k is not between 1 and K.
    """
    count = len(hypotheses.weights)
    if not 1 <= k <= count:
        raise PenumbraError(
            f"k: must be between 1 and the {count} hypotheses, not {k}; choose one in between."
        )
    chosen = take(hypotheses, np.argsort(-hypotheses.weights, kind="stable")[:k])
    return with_weights(chosen, np.asarray(chosen.weights, np.float64))


def best(hypotheses: Hypotheses) -> Body:
    """The hypothesis of largest weight, the first of ties: with equal weights the flow's centre."""
    return body_of(hypotheses, int(np.argmax(hypotheses.weights)))


def posterior_moments(hypotheses: Hypotheses) -> JointMoments:
    """Weighted mean and covariance of every joint, the common distance kept apart.

    `engines.flow.statistics.joint_moments`, made for equal weights, puts the mean at the distance
    of hypothesis 0. Evidence often determines the distance better, so here the mean lies at the
    weighted mean distance, along the ray of the hypothesis of largest weight.
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
    name = type(piece).__name__
    values = np.asarray(piece.log_likelihood(hypotheses), np.float64)
    assert values.shape == hypotheses.weights.shape, (
        f"{name} gave {values.shape} for {hypotheses.weights.shape}"
    )
    if np.isnan(values).any() or np.isposinf(values).any():
        raise PenumbraError(
            f"{name}: its likelihood is not a finite number; check the numbers it was made of."
        )
    return values


def _effective(weights: Float[np.ndarray, "K"]) -> float:
    weights = np.asarray(weights, np.float64)
    return float(weights.sum() ** 2 / (weights**2).sum())


def _powered(
    prior: Float[np.ndarray, "K"], log_likelihood: Float[np.ndarray, "K"], power: float
) -> Float[np.ndarray, "K"]:
    """exp(prior + power * log_likelihood), scaled to a largest value of one.

    What the evidence makes impossible stays so at any power, zero included.
    """
    possible = np.isfinite(prior) & np.isfinite(log_likelihood)
    log_weights = np.full(len(prior), -np.inf)
    log_weights[possible] = prior[possible] + power * log_likelihood[possible]
    return np.exp(log_weights - log_weights.max())


def _tempered(
    prior: Float[np.ndarray, "K"], log_likelihood: Float[np.ndarray, "K"], min_effective: float
) -> Float[np.ndarray, "K"]:
    """Weights with the evidence at the largest power up to one that keeps `min_effective`."""
    weights = _powered(prior, log_likelihood, 1.0)
    if _effective(weights) >= min_effective:
        return weights
    low, high = 0.0, 1.0  # power 0 keeps as much as possible, power 1 too little
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = _effective(_powered(prior, log_likelihood, middle)) >= min_effective
        low, high = (middle, high) if enough else (low, middle)
    return _powered(prior, log_likelihood, low)
