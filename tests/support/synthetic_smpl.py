"""A small random body as SMPL's arrays, with pose blend shapes, which the default body lacks."""

import numpy as np

from engines.types import NUM_JOINTS, PARENTS


def synthetic_smpl(seed: int = 0, rings: int = 40, num_betas: int = 10) -> dict[str, np.ndarray]:
    """A tube of 12 * rings vertices with random directions, float64 as in official files."""
    rng = np.random.default_rng(seed)
    angle, height = np.meshgrid(np.arange(12) * np.pi / 6, np.linspace(-0.9, 0.8, rings))
    tube = np.stack([0.2 * np.cos(angle), height, 0.2 * np.sin(angle)], -1).reshape(-1, 3)
    count = len(tube)
    ring, step = np.meshgrid(np.arange(rings - 1) * 12, np.arange(12), indexing="ij")
    a, b = (ring + step).ravel(), (ring + (step + 1) % 12).ravel()
    weights = rng.random((count, NUM_JOINTS)) ** 8
    regressor = rng.random((NUM_JOINTS, count)) * (rng.random((NUM_JOINTS, count)) < 0.05)
    parents = np.array(PARENTS, np.int64)
    parents[0] = 2**32 - 1
    return {
        "v_template": tube + rng.normal(size=tube.shape) * 0.01,
        "shapedirs": rng.normal(size=(count, 3, num_betas)) * 0.01,
        "posedirs": rng.normal(size=(count, 3, 207)) * 0.005,
        "weights": weights / weights.sum(1, keepdims=True),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(NUM_JOINTS)]).astype(np.uint32),
        "f": np.concatenate([np.stack([a, b, a + 12], 1), np.stack([b, b + 12, a + 12], 1)]).astype(
            np.uint32
        ),
    }
