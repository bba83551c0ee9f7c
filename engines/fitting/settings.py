"""The options of the fit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FitConfig:
    """How hypotheses are fitted to landmarks."""

    sigma: float = 0.025
    """Standard deviation of a limb landmark that is certainly visible, in half sizes."""
    hip_sigma: float = 0.045
    """The same of a hip, which the landmark network and bodies place differently."""
    min_visibility: float = 0.5
    """Landmarks below it say nothing."""
    cauchy: float = 3.0
    """Residual, in sigmas, at which a landmark counts half."""
    shrinkage: float = 0.2
    """Share of the diagonal in the covariance: a hundred samples leave correlations uncertain."""
    dither: float = 1.0
    """Random displacement of each hypothesis' landmarks, in sigmas; 0 takes spread away."""
    iterations: int = 1
    """Gauss-Newton steps; more for recordings."""
    shared_jacobian: bool = True
    """Take the best estimate's Jacobian for all hypotheses: the best estimate is the same, the best
    of a hundred is about a millimetre worse, and it takes three fifths of the time."""
    full_belief: float = 0.75
    """Normalised innovation up to which landmarks are believed fully."""
    no_belief: float = 1.25
    """Normalised innovation from which hypotheses stay as they were drawn."""
    limit_sigma: float = 0.05
    """How soft the limits of knees and elbows are, radians."""
    prior_share: float = 0.02
    """Power to which a pose prior is taken. The flow knows poses already, from the same recordings:
    at 1 they would count twice."""
    prior_nats: float = 50.0
    """Energy at which a prior counts half. Poses that people take cost some 20 to 50 nats; one that
    costs thousands is none that the prior knows."""
