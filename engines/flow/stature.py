"""Hypotheses of a person whose height is known.

From one camera a person's size and distance trade against each other: shape decides, and that is
hardly visible. Where the height is known each hypothesis takes the most likely shape that has it.
Shape coefficients are standard normal in the population and the height H is linear in them, so this
is the nearest one,

    betas' = betas + g (height - H(betas)) / |g|^2  with  g = dH / dbetas

and the body moves along its viewing ray by the ratio of the heights, which leaves its image as it
is, but for proportions. It happens before the fit, which repairs these: after it all hypotheses are
of one height, and fit and recalibration, which move bodies as their samples vary, hardly change it:
by millimetres, for each coordinate is also given a little variance of its own.
Joints, covariances, the standard deviation of the distance and smplx's parameters follow, because
they are made from the hypotheses.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.flow.sampler import FlowOutput, PosedHypotheses, skeleton_of
from engines.kernels import JointPlan

HEIGHT_RANGE_CM = (140, 205)
"""Beyond it the default body's shape would be more than 3.5 standard deviations from the mean."""
_IDENTITY = np.eye(3, dtype=np.float32)


class Stature:
    """Gives K hypotheses a height; one thread at a time."""

    def __init__(
        self, body: BodyModel, num_hypotheses: int, height_m: float, device: str = "cpu"
    ) -> None:
        """Find the body's highest and lowest vertex, which its height is measured between.

        Args:
            body: of the hypotheses.
            num_hypotheses: K.
            height_m: standing, from the soles to the top of the head.
            device: of the forward kinematics, "cpu" or "cuda:N".
        """
        mesh = body.full
        top, bottom = mesh.v_template[:, 1].argmax(), mesh.v_template[:, 1].argmin()
        self.height_m = height_m
        self._mean = float(mesh.v_template[top, 1] - mesh.v_template[bottom, 1])
        self._slope = (mesh.shapedirs[top, 1] - mesh.shapedirs[bottom, 1]).astype(np.float64)
        self._forward_kinematics = JointPlan(skeleton_of(body), num_hypotheses, device)

    def heights(self, betas: Float[np.ndarray, "K 10"]) -> Float[np.ndarray, "K"]:
        """How tall people of these shapes are, metres."""
        return self._mean + betas.astype(np.float64) @ self._slope

    def __call__(self, samples: FlowOutput) -> FlowOutput:
        """Return the samples with the height, seen as before."""
        before = samples.hypotheses
        heights = self.heights(before.betas)
        missing = (self.height_m - heights) / (self._slope @ self._slope)
        betas = (before.betas + missing[:, None] * self._slope).astype(np.float32)
        pelvis = before.joints[:, 0] * (self.height_m / heights)[:, None]
        pelvis = np.ascontiguousarray(pelvis, np.float32)
        posed = self._forward_kinematics(before.rotvec, _IDENTITY, betas, pelvis)
        hypotheses = replace(before, betas=betas, transl=posed.transl, joints=posed.joints)
        return replace(samples, posed=PosedHypotheses(hypotheses, posed.T_cam_rest))
