"""Bodies to a mean, shape components and a joint regressor."""

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from engines.types import NUM_BETAS, NUM_JOINTS


def shape_components(
    vertices: Float[np.ndarray, "N V 3"],
) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "V 3 10"], Float[np.ndarray, "10"]]:
    """Principal components of the bodies.

    Returns:
        The mean body; directions scaled so that the drawn bodies' coefficients have unit variance,
        each with the sign that makes the body taller; the share of the variance that each explains.
    """
    count = len(vertices)
    mean = vertices.mean(0, dtype=np.float64)
    centred = (vertices - mean).reshape(count, -1)
    values, vectors = np.linalg.eigh(
        (centred @ centred.T).astype(np.float64)
    )  # N x N is far smaller than 3V x 3V
    order = np.argsort(values)[::-1][:NUM_BETAS]
    directions = (centred.T @ vectors[:, order]) / np.sqrt(count - 1)
    directions = directions.reshape(*mean.shape, NUM_BETAS)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    taller = np.sign(directions[top, 1] - directions[bottom, 1])
    return mean, directions * taller, values[order] / values.sum()


def fit_joint_regressor(
    vertices: Float[np.ndarray, "N V 3"], joints: Float[np.ndarray, "N 24 3"], candidates: int
) -> Float[np.ndarray, "24 V"]:
    """Fit non-negative weights on vertices near each joint, rows summing to one.

    One non-negative least-squares problem per joint over all bodies and axes, with a heavy row for
    the sum.
    """
    regressor = np.zeros((NUM_JOINTS, vertices.shape[1]))
    mean_vertices, mean_joints = vertices.mean(0), joints.mean(0)
    for joint in range(NUM_JOINTS):
        distance = np.linalg.norm(mean_vertices - mean_joints[joint], axis=1)
        near = np.argsort(distance)[:candidates]
        # Relative to the joint's mean the numbers are small and the sum's row weighs more than any
        # of them.
        a = (vertices[:, near] - mean_joints[joint]).transpose(0, 2, 1).reshape(-1, len(near))
        b = (joints[:, joint] - mean_joints[joint]).reshape(-1)
        weight = 1e2
        solution, _ = nnls(np.vstack([a, np.full((1, len(near)), weight)]), np.append(b, weight))
        regressor[joint, near] = solution / solution.sum()
    return regressor
