"""The options of the fit."""

from dataclasses import dataclass

from engines.errors import PenumbraError


@dataclass(frozen=True)
class FitConfig:
    """How hypotheses are fitted to landmarks."""

    sigma: float = 0.012
    """Standard deviation of a limb landmark that is certainly visible and whose heatmap is a single
    point, in half sizes."""
    peak_power: float = 3.0
    """The standard deviation falls with the largest probability of the heatmap to this power. On
    rendered validation subjects it is 0.013, 0.016, 0.019, 0.026, 0.044 and 0.09 at peaks of 0.93,
    0.88, 0.82, 0.73, 0.6 and 0.48."""
    usual_peak: float = 0.83
    """Taken for landmarks that come without heatmaps."""
    max_sigma: float = 0.3
    """Where the heatmap says next to nothing, in half sizes."""
    min_visibility: float = 0.5
    """Landmarks below it say nothing."""
    cauchy: float = 3.0
    """Residual, in sigmas, at which a landmark counts half."""
    depth_sigma: float = 0.03
    """Standard deviation of a limb joint's movement along the viewing ray, relative to the pelvis,
    in metres, to first order around the best estimate. The flow has seen the landmarks: what they
    say about depth is in its samples already. A pose prior may move depth before."""
    shrinkage: float = 0.5
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

    def __post_init__(self) -> None:
        """Check what is divided by."""
        positive = ("sigma", "max_sigma", "cauchy", "depth_sigma", "limit_sigma")
        for name in (*positive, "prior_share", "prior_nats"):
            if not 0 < getattr(self, name) < float("inf"):
                raise PenumbraError(
                    f"{name}: is {getattr(self, name)}; give a finite number above 0."
                )
        if not self.full_belief < self.no_belief:
            raise PenumbraError(
                f"no_belief: is {self.no_belief}; give more than full_belief, {self.full_belief}."
            )


WITHOUT_HEATMAPS = FitConfig(sigma=0.025, peak_power=0.0)
"""For fits to landmarks alone, of any network: one standard deviation for all."""
