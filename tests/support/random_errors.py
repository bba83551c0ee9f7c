"""Errors of a simulated model whose true standard deviation is the predicted one times a factor."""

import numpy as np

from calib.dataset import CalibrationDataset

COUNT = 4000


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def simulate(
    visible_factors: np.ndarray,
    occluded_factors: np.ndarray,
    share_visible: np.ndarray | float = 0.5,
    seed: int = 0,
    count: int = COUNT,
) -> CalibrationDataset:
    """The factors are those across and along the ray; the model knows which joints are visible.

    Predicted covariances are round across the ray and differ between images and joints.
    """
    rng = np.random.default_rng(seed)
    ray = unit(np.column_stack([rng.normal(0, 0.3, (count, 2)), np.ones(count)]))
    along = ray[:, None, :, None] * ray[:, None, None, :]
    across = np.eye(3) - along
    std = np.exp(rng.normal(np.log(0.04), 0.4, (2, count, 24, 1, 1)))
    visible = rng.random((count, 24)) < share_visible
    factors = np.where(visible[..., None], visible_factors, occluded_factors)[..., None, None]
    root = np.sqrt(std**2 + 0.004**2)  # the floor is part of the predicted one
    spread = factors[..., 0, :, :] * root[0] * across + factors[..., 1, :, :] * root[1] * along
    distance_std = rng.uniform(0.1, 0.5, count)
    landmarks = np.where(visible, 0.8, 0.3) + rng.uniform(-0.2, 0.2, (count, 24))
    landmarks[:, [0, 3, 6]] = np.nan
    return CalibrationDataset(
        error=(spread @ rng.standard_normal((count, 24, 3, 1)))[..., 0],
        cov=std[0] ** 2 * across + std[1] ** 2 * along,
        ray=ray,
        visible=visible,
        p_visible=visible.astype(float),
        entropy=rng.normal(-50, 8, count),
        half_size=np.exp(rng.normal(-1.0, 0.5, count)),
        heavy=rng.random(count) < 0.5,
        landmark_visibility=landmarks,
        distance_error=1.7 * distance_std * rng.standard_normal(count),
        distance_std=distance_std,
        stratum=np.arange(count) % 2,
        strata=("even", "odd"),
        data="simulated",
    )
