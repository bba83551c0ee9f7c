"""What every prior must satisfy: derivatives against finite differences, rows against energies."""

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.coordinates import DIM, TURNS
from engines.fitting.bodies import Bodies, moved, pose
from engines.kernels import Skeleton
from engines.priors.prior import PosePrior
from engines.rotations import exp_so3


def random_rotations(count: int, seed: int, std: float = 0.25) -> Float[np.ndarray, "K 24 3 3"]:
    """Poses that are no pose in particular, in float32, with any root."""
    rng = np.random.default_rng(seed)
    rotvec = std * rng.standard_normal((count, 24, 3))
    rotvec[:, 0] = rng.standard_normal((count, 3))
    return exp_so3(rotvec.astype(np.float32))


def bodies_with(R: Float[np.ndarray, "K 24 3 3"]) -> tuple[Skeleton, Bodies]:
    """The default body in poses, and its skeleton, in the dtype of the poses."""
    body = BodyModel.load()
    skeleton = Skeleton(body.J_template.astype(np.float32), body.J_shapedirs.astype(np.float32))
    pelvis = np.tile(np.array([0.0, 0.0, 3.0], R.dtype), (len(R), 1))
    return skeleton, pose(skeleton, R, np.zeros((len(R), 10), R.dtype), pelvis)


def numeric_gradient(
    prior: PosePrior, R: Float[np.ndarray, "K 24 3 3"], step: float
) -> Float[np.ndarray, "K 72"]:
    """Differentiate the energy by turns of the joints, with central differences."""
    out = np.zeros((len(R), TURNS))
    for column in range(3, TURNS):
        turn = np.zeros((1, 24, 3), R.dtype)
        turn[0, column // 3, column % 3] = step
        up, down = prior.energy(R @ exp_so3(turn)), prior.energy(R @ exp_so3(-turn))
        out[:, column] = (up.astype(float) - down) / (2 * step)
    return out


def gradient_of_rows(prior: PosePrior, bodies: Bodies) -> Float[np.ndarray, "K D"]:
    """The gradient of the cost that rows imply: -J^T N^-1 r."""
    rows = prior(bodies)
    J = np.broadcast_to(rows.J, (bodies.count, *rows.J.shape[1:]))
    assert J.shape == (bodies.count, rows.residual.shape[1], DIM)
    return -np.einsum("krd,kr->kd", J, rows.residual / rows.variance)


def check_rows(
    prior: PosePrior, R: Float[np.ndarray, "K 24 3 3"], step: float, rtol: float
) -> None:
    """Compare the rows with the energy: their cost, and the gradient that they imply."""
    _, bodies = bodies_with(R)
    rows = prior(bodies)
    np.testing.assert_allclose(rows.cost, prior.energy(R), rtol=1e-4, atol=1e-3)
    assert np.isfinite(rows.J).all() and (rows.variance > 0).all()
    gradient = gradient_of_rows(prior, bodies)
    assert not gradient[:, :3].any() and not gradient[:, TURNS:].any()
    numeric = numeric_gradient(prior, R, step)
    scale = np.abs(numeric).max()
    np.testing.assert_allclose(gradient[:, :TURNS], numeric, rtol=rtol, atol=rtol * scale)


def check_jacobian(prior: PosePrior, R: Float[np.ndarray, "K 24 3 3"], rtol: float) -> None:
    """Compare the Jacobian of the rows with differences of their residuals."""
    skeleton, bodies = bodies_with(R)
    rows = prior(bodies)
    size = 1e-3
    for column in range(DIM):
        step = np.zeros((len(R), DIM), R.dtype)
        step[:, column] = size
        up = prior(moved(skeleton, bodies, step)).residual.astype(float)
        down = prior(moved(skeleton, bodies, -step)).residual
        numeric = -(up - down) / (2 * size)
        atol = rtol * np.abs(rows.J).max()
        np.testing.assert_allclose(rows.J[..., column], numeric, rtol=rtol, atol=atol)
