r"""Rotations in torch with their exact densities.

The flow works in $x \in \mathbb{R}^3$ for each joint. A radial tanh squeezes it into a ball of
radius $r$,
$y = r \tanh(\|x\|/r)\, x/\|x\|$, and $R = \exp([y]_\times)$. Log volumes:

- $\log|\det \partial y/\partial x| = 2\log(\|y\|/\|x\|) + \log(1 - \|y\|^2/r^2)$
- $\log|\det d\exp(y)| = \log((2 - 2\cos\theta)/\theta^2)$ with $\theta = \|y\|$, against the Haar
  measure whose total is
  $8\pi^2$ (Falorsi et al., Reparameterizing Distributions on Lie Groups, 2019).

With $r \le \pi$ every rotation has one pre-image $y$. With $\pi < r < 2\pi$ a rotation by $\theta >
2\pi - r$ has a second one, its twin of length $2\pi - \theta$ in the opposite direction, and
densities add up.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def exp(y: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Rodrigues' formula, smooth at zero."""
    square = (y * y).sum(-1)[..., None, None]
    small = square < 1e-6
    safe = square.clamp_min(1e-6)
    theta = safe.sqrt()
    a = torch.where(small, 1 - square / 6, theta.sin() / theta)
    b = torch.where(small, 0.5 - square / 24, (1 - theta.cos()) / safe)
    K = hat(y)
    return torch.eye(3, dtype=y.dtype, device=y.device) + a * K + b * (K @ K)


def log(R: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """The rotation vector of length at most pi, through the unit quaternion; gradients are finite
    below half a turn.

    The quaternion comes from the row of the 4x4 outer product with the largest diagonal, which
    never divides by a small number.
    """
    m = R.flatten(-2).unbind(-1)
    trace = m[0] + m[4] + m[8]
    diagonal = torch.stack(
        [1 + trace, 1 + 2 * m[0] - trace, 1 + 2 * m[4] - trace, 1 + 2 * m[8] - trace], -1
    )
    a, b, c = m[7] - m[5], m[2] - m[6], m[3] - m[1]
    d, e, f = m[1] + m[3], m[2] + m[6], m[5] + m[7]
    w, x, y, z = diagonal.unbind(-1)
    rows = torch.stack([w, a, b, c, a, x, d, e, b, d, y, f, c, e, f, z], -1).unflatten(-1, (4, 4))
    best = diagonal.argmax(-1)[..., None, None].expand(*diagonal.shape[:-1], 1, 4)
    q = torch.nn.functional.normalize(rows.gather(-2, best)[..., 0, :], dim=-1)
    q = torch.where(q[..., :1] < 0, -q, q)
    half_sine = (q[..., 1:].square().sum(-1, keepdim=True) + 1e-14).sqrt()
    return q[..., 1:] * (2 * torch.atan2(half_sine, q[..., :1]) / half_sine)


def hat(y: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """The cross-product matrix of y."""
    x, y_, z = y.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y_, z, o, -x, -y_, x, o], -1).unflatten(-1, (3, 3))


def exp_log_det(y: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B"]:
    """log((2 - 2 cos t) / t^2) with t = |y|: the volume of `exp` against the Haar measure."""
    square = (y * y).sum(-1)
    small = square < 1e-4
    safe = square.clamp_min(1e-4)
    # sin form: 2 - 2 cos t = 4 sin^2(t/2) does not cancel near zero.
    full = 2 * torch.log((2 * torch.sin(safe.sqrt() / 2)).abs().clamp_min(1e-12)) - torch.log(safe)
    return torch.where(small, -square / 12, full)


def radial_tanh(x: Float[Tensor, "*#B 3"], radius: Float[Tensor, "*#B"]) -> Float[Tensor, "*B 3"]:
    """The radial tanh into the ball of `radius`."""
    return _tanhc(_norm(x) / radius)[..., None] * x


def radial_atanh(y: Float[Tensor, "*#B 3"], radius: Float[Tensor, "*#B"]) -> Float[Tensor, "*B 3"]:
    """The inverse of `radial_tanh`; `y` beyond 0.9995 of the radius is taken as lying there."""
    length = _norm(y)
    inside = (length / radius).clamp_max(0.9995)
    return y * (radius * torch.atanh(inside) / length)[..., None]


def radial_tanh_log_det(
    x: Float[Tensor, "*#B 3"], radius: Float[Tensor, "*#B"]
) -> Float[Tensor, "*B"]:
    """Log volume of `radial_tanh` at x; log(1 - tanh^2) is taken as 2 (log 2 - t - softplus(-2t)),
    stable for large t.
    """
    t = _norm(x) / radius
    log_sech2 = 2 * (math.log(2.0) - t - torch.nn.functional.softplus(-2 * t))
    return 2 * torch.log(_tanhc(t)) + log_sech2


def twin(y: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """The other rotation vector of the same rotation: opposite direction, length 2 pi - |y|."""
    length = _norm(y)[..., None]
    return y * (1 - 2 * math.pi / length)


def _norm(x: Tensor) -> Tensor:
    """Length, never exactly zero, so that gradients stay finite."""
    return ((x * x).sum(-1) + 1e-12).sqrt()


def _tanhc(t: Tensor) -> Tensor:
    """tanh(t)/t."""
    return torch.tanh(t) / t
