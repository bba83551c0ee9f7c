"""How synthetic samples are made."""

from dataclasses import dataclass, field

from trainer.synthetic.people import PeopleConfig


@dataclass(frozen=True)
class ErrorConfig:
    """Where landmarks come from; standard deviations of errors in units of half the person's size.

    All but `banked` and `pool` is for images that are answered from tables.
    """

    common: float = 0.015
    """Shared by all landmarks of an image."""
    limb: float = 0.014
    """Shared by the landmarks of a limb."""
    own: float = 0.020
    """Of each landmark."""
    spread: float = 0.45
    """Standard deviation of the log of an image's own factor on the three above."""
    unsure: float = 0.4
    """How much the log of the three above rises where the network is less sure of a landmark by one
    standard deviation.
    """
    outliers: float = 0.05
    """Share of landmarks that land elsewhere."""
    outlier: float = 0.20
    """Their displacement."""
    occluded_limb: float = 0.12
    """Shared by the occluded landmarks of a limb."""
    occluded: float = 0.08
    """Of each occluded landmark."""
    guess_spread: float = 0.85
    """Standard deviation of the log of a limb's own factor on the two above."""
    swaps: tuple[float, float, float] = (0.030, 0.010, 0.020)
    """Shares of images in which left is taken for right: all limbs, arms only, legs only."""
    banked: float = 0.85
    """Share of images that are answered from a bank of the network's answers, where there is one;
    the others, from tables, err in more ways than the people in the bank.
    """
    pool: int = 1024
    """Entries of the bank that a batch chooses from."""


@dataclass(frozen=True)
class SyntheticConfig:
    """Distribution of people, their landmarks and occluders."""

    people: PeopleConfig = field(default_factory=PeopleConfig)
    misplaced_m: tuple[float, float] = (0.018, 0.006)
    """Where the network takes a joint to lie in the body: standard deviation of what is the same
    left and right, and of what is not.
    """
    occluders: tuple[float, float, float, float] = (0.70, 0.10, 0.13, 0.07)
    """Shares of images with nothing, a table's edge, a box, a post in front of the person."""
    errors: ErrorConfig = field(default_factory=ErrorConfig)
