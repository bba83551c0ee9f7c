"""The best estimate's surface, and how uncertain each point of it is."""

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.covariance import std_from_cov
from engines.flow.sampler import PosedHypotheses
from engines.flow.statistics import joint_moments
from engines.hypotheses import first
from engines.kernels import MomentPlan, SkinnedMesh, VertexPlan
from engines.types import NUM_JOINTS, Body, PersonMesh

MESH_HYPOTHESES = 50
"""Number of hypotheses that the surface's spread is taken over: half of the default halves the
cost and hardly changes a colour."""
_SMALLEST_STD_M = 1e-4


class MeshEstimator:
    """Skins a person's hypotheses. Its buffers are allocated once, for one thread at a time."""

    def __init__(self, body: BodyModel, num_hypotheses: int, device: str) -> None:
        """Allocate.

        Args:
            body: of the hypotheses.
            num_hypotheses: K.
            device: of the kernels, "cpu" or "cuda:N".
        """
        self._body = body
        mesh = body.decimated
        self._bone_weights = mesh.weights
        arrays = (a.astype(np.float32) for a in (mesh.v_template, mesh.shapedirs, mesh.weights))
        self._count = min(num_hypotheses, MESH_HYPOTHESES)
        self._vertex_moments = VertexPlan(SkinnedMesh(*arrays), self._count, device)
        self._joint_moments = MomentPlan(num_hypotheses, NUM_JOINTS, device)

    def __call__(
        self, best: Body, joint_cov: Float[np.ndarray, "24 3 3"], posed: PosedHypotheses
    ) -> PersonMesh:
        """Estimate the surface of one person.

        Args:
            best: the estimate whose surface it is.
            joint_cov: calibrated covariance of its joints, square metres.
            posed: all K hypotheses of the same person.
        """
        rotvec = np.concatenate([best.global_orient, best.body_pose]).reshape(NUM_JOINTS, 3)
        surface = self._body.shaped(best.betas).posed(rotvec, best.transl)
        some = first(posed.hypotheses, self._count)
        pelvis = np.ascontiguousarray(some.joints[:, 0])
        bones = posed.T_cam_rest[: self._count]
        spread = self._vertex_moments(some.betas, bones, pelvis, some.weights)
        # Recalibrated hypotheses have the calibrated spread but for a few per cent. Each vertex
        # takes over what its bones still lack.
        std = std_from_cov(joint_moments(posed.hypotheses, self._joint_moments).cov.astype(float))
        lacking = std_from_cov(joint_cov) / np.maximum(std, _SMALLEST_STD_M)
        return PersonMesh(
            surface.vertices("decimated"), spread.std * (self._bone_weights @ lacking)
        )
