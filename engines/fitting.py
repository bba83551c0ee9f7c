r"""The last step: draw every hypothesis to the landmarks that are seen, and leave the rest to the
flow.

For each hypothesis $x_i$ the body $x$ is sought that minimises

$$\sum_m \rho\big((\pi(x)_m - u_m)/\sigma_m\big) + \lVert x \ominus x_i \rVert^2_{C^{-1}}$$

with the projections $\pi$ of the limb joints, the landmarks $u$ and their uncertainty $\sigma$, a
robust $\rho$ (Cauchy's, by reweighting), and the covariance $C$ of the hypotheses themselves. $C$
says what the picture leaves open: depth and hidden limbs move only as far as they hang together
with what is seen. Gauss-Newton in the form of an iterated Kalman update, whose matrices are as
large as the number of residuals, not of coordinates. Where the landmarks contradict a hypothesis by
many sigmas (left taken for right) the weights vanish, and it stays where it is.

Coordinates are 24 turns in each bone's own frame, 10 betas, and the pelvis' displacement in metres.
All K hypotheses at once.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from engines.body import BodyModel
from engines.rotations import exp_so3, log_so3
from engines.types import LIMB_LANDMARKS, NUM_BETAS, NUM_JOINTS, PARENTS, Hypotheses

DITHER_SEED = 19790823
TURNS = 3 * NUM_JOINTS
DIM = TURNS + NUM_BETAS + 3
LANDMARKS = tuple(LIMB_LANDMARKS)
JOINTS = tuple(LIMB_LANDMARKS.values())


def _ancestors() -> list[list[int]]:
    """The joints whose turns move each joint."""
    chains: list[list[int]] = []
    for joint in range(NUM_JOINTS):
        chain, k = [], PARENTS[joint]
        while k >= 0:
            chain.append(k)
            k = PARENTS[k]
        chains.append(chain)
    return chains


_ANCESTORS = _ancestors()
_JOINTS = np.array(JOINTS)
NEAREST_M = 0.1
"""Joints closer to the camera count as that far away."""


@dataclass(frozen=True)
class FitConfig:
    """How landmarks are believed."""

    sigma: float = 0.025
    """Of a limb landmark that is certainly visible, in units of half the person's size."""
    hip_sigma: float = 0.045
    """Of a hip, which annotators and bodies place differently."""
    min_visibility: float = 0.5
    """Landmarks below it say nothing."""
    cauchy: float = 3.0
    """Residual in sigmas at which a landmark counts half."""
    iterations: int = 2
    diagonal: float = 0.2
    """Share of the covariance's diagonal that is mixed in: a hundred draws do not fix 85 x 85
    numbers.
    """
    widest: float = 1.0
    """Factor on the covariance: how far evidence may move a hypothesis beyond what the flow says.
    """
    shared: bool = False
    """Whether all hypotheses share the best estimate's Jacobian: a third of the time, less exact
    where they differ.
    """
    dither: float = 1.0
    """Each hypothesis but the best estimate is drawn to landmarks that are moved at random by this
    many sigmas, so that what
    is left of the spread is that of the posterior (randomised maximum likelihood), not less."""


@dataclass(frozen=True)
class Seen:
    """The twelve limb landmarks on the plane z = 1 of the camera."""

    rays: Float[np.ndarray, "12 2"]
    sigma: Float[np.ndarray, "12"]
    """Same unit; infinite where the landmark says nothing."""


def seen(
    rays: Float[np.ndarray, "33 2"],
    inside: np.ndarray,
    visibility: Float[np.ndarray, "33"],
    half: float,
    config: FitConfig,
) -> Seen:
    """Which limb landmarks count, and how much."""
    marks = list(LANDMARKS)
    sure = visibility[marks]
    base = np.where(np.isin(marks, (23, 24)), config.hip_sigma, config.sigma) * half
    counts = inside[marks] & (sure >= config.min_visibility)
    return Seen(rays[marks], np.where(counts, base / np.maximum(sure, 1e-3), np.inf))


@dataclass(frozen=True)
class Posed:
    """K bodies and where their bones are."""

    R: Float[np.ndarray, "K 24 3 3"]
    """Of each joint relative to its parent; of the root in the camera frame."""
    betas: Float[np.ndarray, "K 10"]
    pelvis: Float[np.ndarray, "K 3"]
    world: Float[np.ndarray, "K 24 3 3"]
    joints: Float[np.ndarray, "K 24 3"]


def pose(body: BodyModel, R: np.ndarray, betas: np.ndarray, pelvis: np.ndarray) -> Posed:
    """Forward kinematics."""
    from engines.body import _forward_kinematics

    rest = body.rest_joints(betas)
    world, joints = _forward_kinematics(R, rest, pelvis - rest[:, 0])
    return Posed(R, betas, pelvis, world, joints)


def covariance(
    posed: Posed, weights: Float[np.ndarray, "K"], config: FitConfig
) -> Float[np.ndarray, "D D"]:
    """Of the hypotheses about number 0, in the coordinates of the fit."""
    turns = log_so3(np.swapaxes(posed.R[:1], -1, -2) @ posed.R).reshape(len(posed.R), TURNS)
    away = np.concatenate(
        [turns, posed.betas - posed.betas[:1], posed.pelvis - posed.pelvis[:1]], -1
    )
    away = away - np.average(away, axis=0, weights=weights)
    cov = (away * weights[:, None]).T @ away
    mixed = (1 - config.diagonal) * cov + config.diagonal * np.diag(np.diag(cov))
    return (config.widest**2 * (mixed + 1e-8 * np.eye(DIM))).astype(np.float32)


def jacobian(
    body: BodyModel, posed: Posed, flat: Float[np.ndarray, "K m 2"], use: Int[np.ndarray, "m"]
) -> Float[np.ndarray, "K m 2 D"]:
    """How the projections of some limb joints, numbered as in `JOINTS`, move with the coordinates.

    With the projection's rows p_a = (e_a - flat_a e_z) / z and a turn d of bone k, the joint moves
    by (R_k d) x arm, so the row is (arm x p_a) R_k: a small product for each joint and each bone
    above it, all at once.
    """
    count = len(flat)
    rows = np.zeros((count, len(use), 2, 3), np.float32)
    rows[:, :, 0, 0] = rows[:, :, 1, 1] = 1.0
    rows[:, :, :, 2] = -flat
    rows /= np.maximum(posed.joints[:, _JOINTS[use], 2], NEAREST_M)[:, :, None, None]
    J = np.zeros((count, len(use), 2, DIM), np.float32)
    row, bone = _pairs(use)
    arm = posed.joints[:, _JOINTS[use[row]]] - posed.joints[:, bone]
    turned = np.cross(arm[:, :, None], rows[:, row])  # (K, P, 2, 3)
    R = posed.world[:, bone]
    by_turn = sum(turned[..., i, None] * R[:, :, None, i] for i in range(3))
    J[:, :, :, :TURNS].reshape(count, len(use), 2, NUM_JOINTS, 3)[:, row, :, bone] = np.moveaxis(
        by_turn, 1, 0
    )
    shape = _by_shape(body, posed)[:, _JOINTS[use]]
    J[..., TURNS:-3] = rows @ shape
    J[..., -3:] = rows
    return J


def _pairs(use: Int[np.ndarray, "m"]) -> tuple[Int[np.ndarray, "P"], Int[np.ndarray, "P"]]:
    """Each used joint with each bone whose turns move it."""
    pairs = [(row, bone) for row, i in enumerate(use) for bone in _ANCESTORS[JOINTS[i]]]
    row, bone = np.array(pairs).T
    return row, bone


def _by_shape(body: BodyModel, posed: Posed) -> Float[np.ndarray, "K 24 3 10"]:
    """How joints move with the betas while the pelvis stays, metres."""
    bones = body.J_shapedirs[1:] - body.J_shapedirs[list(PARENTS[1:])]
    turned = posed.world[:, PARENTS[1:]] @ bones
    out = np.zeros((len(turned), NUM_JOINTS, 3, NUM_BETAS), np.float32)
    for k in range(1, NUM_JOINTS):
        out[:, k] = out[:, PARENTS[k]] + turned[:, k - 1]
    return out


def moved(body: BodyModel, posed: Posed, step: Float[np.ndarray, "K D"]) -> Posed:
    """The bodies after a step."""
    R = posed.R @ exp_so3(step[:, :TURNS].reshape(-1, NUM_JOINTS, 3))
    return pose(body, R, posed.betas + step[:, TURNS:-3], posed.pelvis + step[:, -3:])


def dither(count: int) -> Float[np.ndarray, "K 12 2"]:
    """The same random displacements in every frame, none for number 0; sigmas."""
    noise = np.random.default_rng(DITHER_SEED).standard_normal(
        (count, len(LANDMARKS), 2), np.float32
    )
    noise[0] = 0.0
    return noise


def fit(
    body: BodyModel, start: Posed, cov: Float[np.ndarray, "D D"], said: Seen, config: FitConfig
) -> Posed:
    """Iterated Kalman update of all hypotheses."""
    use = np.flatnonzero(np.isfinite(said.sigma))
    if len(use) == 0:
        return start
    posed, step = start, np.zeros((len(start.R), DIM), np.float32)
    aim = said.rays[use] + config.dither * said.sigma[use, None] * dither(len(start.R))[:, use]
    for _ in range(config.iterations):
        points = posed.joints[:, _JOINTS[use]]
        flat = points[..., :2] / np.maximum(points[..., 2:], NEAREST_M)
        held = _first(posed) if config.shared else posed
        J = jacobian(body, held, flat[: len(held.R)], use).reshape(len(held.R), -1, DIM)
        residual = (aim - flat).astype(np.float32)
        away = np.linalg.norm(residual, axis=-1) / said.sigma[use]
        noise = (said.sigma[use] ** 2 * (1 + (away / config.cauchy) ** 2)).astype(np.float32)
        target = residual.reshape(len(flat), -1) + (J @ step[..., None])[..., 0]
        step = _update(J, cov, np.repeat(noise, 2, -1), target)
        posed = moved(body, start, step)
    return posed


def _first(posed: Posed) -> Posed:
    """Number 0 alone."""
    return Posed(posed.R[:1], posed.betas[:1], posed.pelvis[:1], posed.world[:1], posed.joints[:1])


def _update(
    J: Float[np.ndarray, "#K r D"],
    cov: Float[np.ndarray, "D D"],
    noise: Float[np.ndarray, "K r"],
    target: Float[np.ndarray, "K r"],
) -> Float[np.ndarray, "K D"]:
    """C J^T (J C J^T + N)^-1 t for each hypothesis."""
    JC = (J.reshape(-1, DIM) @ cov).reshape(J.shape)
    S = JC @ np.swapaxes(J, -1, -2) + noise[..., None] * np.eye(J.shape[1], dtype=np.float32)
    weights = np.linalg.solve(S, target[..., None])
    return (np.swapaxes(weights, -1, -2) @ JC)[:, 0]


def fitted(
    body: BodyModel, hypotheses: Hypotheses, said: Seen, config: FitConfig = FitConfig()
) -> Hypotheses:
    """The hypotheses after the fit. `log_q` stays that of the draws before it."""
    R = exp_so3(hypotheses.rotvec)
    start = pose(body, R, hypotheses.betas, hypotheses.joints[:, 0])
    posed = fit(body, start, covariance(start, hypotheses.weights, config), said, config)
    transl = posed.pelvis - body.rest_joints(posed.betas)[:, 0]
    return Hypotheses(
        log_so3(posed.R).astype(np.float32),
        posed.betas.astype(np.float32),
        transl.astype(np.float32),
        np.ascontiguousarray(posed.joints, np.float32),
        hypotheses.log_q,
        hypotheses.weights,
    )
