"""Fused operations from flow samples to statistics; a file has a NumPy reference and its kernel.

    joints.py          rotation vectors, shape, pelvis -> joints and bone transforms of K hypotheses
    moments.py         joints -> weighted mean and covariance per joint, shared distance taken out
    vertex_moments.py  bone transforms and shape -> the same per vertex of the decimated mesh
    steps.py           bodies and a step each -> moved bodies, projections and their derivative;
                       step_kernels.py has the kernels
    solve.py           small symmetric systems, one for each body, sixteen side by side
    raster.py          triangle meshes -> images and silhouettes
    so3.py             rotations inside kernels
    launch.py          choice of the device, buffers, checks of arguments by name

A caller keeps a plan (`JointPlan`, `MomentPlan`, `VertexPlan`): building it compiles or loads the
kernel and allocates every buffer, once; calling it takes the same arrays as the reference.

Why NVIDIA Warp: one source is compiled for the CPU (by the LLVM in its wheel) and for CUDA, so
every machine tests the kernels it will run, and no compiler is needed to install. Measured on one
core of an AMD EPYC, warp 1.19, K=100, median of CPU time, the NumPy float32 reference in brackets:
joints 0.15 ms (1.8), joint moments 0.05 ms (0.24), 2,013 vertices 6.0 ms (107), with half the
hypotheses 3.0 ms. Importing takes 0.5 s; the first run on a machine compiles for about 4 s, later
ones load in 0.1 s. For CUDA the tests compile the kernels everywhere, but they have not been run or
timed there. Tried and left: eight hypotheses side by side in one vector type, as `solve.py` does,
which makes the vertices 1.5 times faster and doubles the code and the time to compile; vectors of
four and a higher optimisation level bring nothing.
"""

from engines.kernels.joints import JointPlan, PosedJoints, Skeleton, pose_joints_reference
from engines.kernels.moments import MomentPlan, Moments, weighted_moments_reference
from engines.kernels.vertex_moments import (
    SkinnedMesh,
    VertexMoments,
    VertexPlan,
    skinned_moments_reference,
)

__all__ = [
    "JointPlan",
    "MomentPlan",
    "Moments",
    "PosedJoints",
    "Skeleton",
    "SkinnedMesh",
    "VertexMoments",
    "VertexPlan",
    "pose_joints_reference",
    "skinned_moments_reference",
    "weighted_moments_reference",
]
