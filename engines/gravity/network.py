"""The gravity network: one estimated person to the direction against gravity.

    features (F,) -> SiLU layers -> direction in body axes, and a Cholesky factor L (3x3)
    C = scale^2 L L^T, of which the part across the direction counts

It is small enough for NumPy. `python -m trainer.train_gravity` made the weights; `gravity.json`
beside them says how, on what, and how far they err.
"""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engines.arrays import read_npz
from engines.errors import PenumbraError
from engines.gravity.direction import Direction, tangent_basis
from engines.gravity.features import NUM_FEATURES, gravity_features
from engines.rotations import exp_so3
from engines.types import Person

NUM_OUTPUTS = 9
LOG_STD_RANGE = (-4.0, 0.5)
"""Bounds of the logarithm of L's diagonal, log radians: 1 to 94 degrees."""
MAX_SLANT = 2.0
"""Bound of what lies below L's diagonal, in units of the row's diagonal."""
MAX_BYTES = 2**22
"""The weights have 150 kB."""


@dataclass(frozen=True)
class GravityNetwork:
    """The weights."""

    mean: Float[np.ndarray, "F"]
    """Of the features, in training."""
    std: Float[np.ndarray, "F"]
    layers: tuple[tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_"]], ...]
    """Weights and biases."""
    scale: float
    """Factor on standard deviations, fitted on people whom the network was not trained on."""

    @staticmethod
    def load(path: Path | None = None) -> "GravityNetwork":
        """Read weights; the shipped ones by default.

        Raises:
            PenumbraError: the file is missing, damaged or something else.
        """
        if path is None:
            with as_file(files("engines") / "assets" / "gravity.npz") as shipped:
                path = Path(shipped)
        try:
            return _network(read_npz(path, max_bytes=MAX_BYTES))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise PenumbraError(
                f"gravity: {path} is no gravity network ({error}); make it with "
                "python -m trainer.train_gravity."
            ) from error

    def __call__(self, person: Person) -> Direction:
        """Predict up from one estimated person, camera frame."""
        best = person.best
        return self.direction(
            exp_so3(best.global_orient), best.joints, person.joint_cov, person.joint_visible
        )

    def direction(
        self,
        R_cam_root: Float[np.ndarray, "3 3"],
        joints: Float[np.ndarray, "24 3"],
        joint_cov: Float[np.ndarray, "24 3 3"],
        joint_visible: Float[np.ndarray, "24"],
    ) -> Direction:
        """Predict up in the camera frame; arguments as of `gravity_features`."""
        features = gravity_features(R_cam_root, joints, joint_cov, joint_visible)
        vector, cov = self.predict(features)
        return Direction(R_cam_root @ vector, R_cam_root @ cov @ R_cam_root.T)

    def predict(
        self, features: Float[np.ndarray, "*B F"]
    ) -> tuple[Float[np.ndarray, "*B 3"], Float[np.ndarray, "*B 3 3"]]:
        """Evaluate the network: up and its covariance in body axes, square radians."""
        x = (features.astype(np.float64) - self.mean) / self.std
        for weight, bias in self.layers[:-1]:
            x = x @ weight.T + bias
            x = x / (1.0 + np.exp(-x.clip(-60.0, 60.0)))
        weight, bias = self.layers[-1]
        out = x @ weight.T + bias
        vector = out[..., :3] / np.maximum(
            np.linalg.norm(out[..., :3], axis=-1, keepdims=True), 1e-9
        )
        L = np.zeros((*out.shape[:-1], 3, 3))
        std = np.exp(out[..., 3:6].clip(*LOG_STD_RANGE))
        slant = MAX_SLANT * np.tanh(out[..., 6:9])
        L[..., [0, 1, 2], [0, 1, 2]] = std
        L[..., [1, 2, 2], [0, 0, 1]] = slant * std[..., [1, 2, 2]]
        B = tangent_basis(vector)
        across = B @ (B.swapaxes(-1, -2) @ L)
        return vector, self.scale**2 * across @ across.swapaxes(-1, -2)


def _network(arrays: dict[str, np.ndarray]) -> GravityNetwork:
    """Check shapes and numbers."""
    layers = []
    width = NUM_FEATURES
    for i in range(sum(name.startswith("weight_") for name in arrays)):
        weight, bias = arrays[f"weight_{i}"].astype(float), arrays[f"bias_{i}"].astype(float)
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ValueError(f"layer {i} does not fit the one before")
        layers.append((weight, bias))
        width = len(weight)
    mean, std = arrays["mean"].astype(float), arrays["std"].astype(float)
    if width != NUM_OUTPUTS or mean.shape != (NUM_FEATURES,) or std.shape != mean.shape:
        raise ValueError("it has other inputs or outputs")
    network = GravityNetwork(mean, std, tuple(layers), float(arrays["scale"]))
    numbers = [network.scale, mean, std, *(part for layer in layers for part in layer)]
    if not all(np.isfinite(part).all() for part in numbers) or min(std.min(), network.scale) <= 0:
        raise ValueError("it holds numbers that are not finite or not positive")
    return network
