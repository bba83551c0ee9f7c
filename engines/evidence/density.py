"""The flow's own opinion as evidence: only the k hypotheses of highest density stay."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.errors import PenumbraError
from engines.types import Hypotheses


@dataclass(frozen=True)
class TopDensity:
    """Rules out all but the `k` hypotheses with the highest `log_q`; those keep their weights.

    This is selection and not Bayes' rule: the density is already in how often a body was drawn. It
    cuts off the tails, towards the mode as k falls, and so makes the spread smaller than it is.
    """

    k: int

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """0 for the k densest, the first of equals; minus infinity for the others.

        Raises:
            PenumbraError: k is not between 1 and K, or the hypotheses carry no density (those of an
                old publisher).
        """
        count = len(hypotheses.log_q)
        if not 1 <= self.k <= count:
            raise PenumbraError(
                f"TopDensity's k must be between 1 and the {count} hypotheses, not {self.k}."
            )
        if np.isnan(hypotheses.log_q).any():
            raise PenumbraError(
                "TopDensity needs log_q, which these hypotheses lack; publishers send it from version 1.2 of the stream on."
            )
        values = np.full(count, -np.inf)
        values[np.argsort(-hypotheses.log_q, kind="stable")[: self.k]] = 0.0
        return values
