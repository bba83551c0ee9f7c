"""Weighted mean and covariance of every vertex over hypotheses.

For vertex v of hypothesis k, with bones b of skinning weight s_vb and the bone transforms of
`joints.py`:

    rest_kv = v_template_v + shapedirs_v beta_k         shaped body at rest, body frame, metres
    x_kv    = sum_b s_vb (R_kb rest_kv + t_kb)          linear blend skinning, camera frame, metres
    p_kv    = x_kv + ((pelvis_0 - pelvis_k) . r) r      the shared distance taken out (`moments.py`)

and mean and covariance of p_kv over k as there. Correctives that depend on the pose are left out:
they move the surface by millimetres, and hardly its spread.

Fused: one thread carries one vertex through all hypotheses, so the (K, V, 3) vertices never touch
memory. Skinning weights are kept sparse, padded to the largest number of bones that any vertex has,
so none is dropped.
"""

# pyright: reportInvalidTypeForm=false
# Kernels are written in Warp's language; the type checker takes them for Python.

from dataclasses import dataclass

import numpy as np
import warp as wp
from jaxtyping import Float, Int

from engines.kernels.joints import mat34
from engines.kernels.launch import Buffer, check_array, check_weights, open_device, record
from engines.kernels.moments import gain
from engines.types import NUM_BETAS

wp.set_module_options({"enable_backward": False})

vec6 = wp.types.vector(length=6, dtype=wp.float32)


@dataclass(frozen=True)
class SkinnedMesh:
    """The decimated mesh at rest."""

    v_template: Float[np.ndarray, "V 3"]
    """Vertices of the mean shape, body frame, metres."""
    shapedirs: Float[np.ndarray, "V 3 10"]
    """Change of the vertices per unit of each shape coefficient, metres."""
    weights: Float[np.ndarray, "V J"]
    """Skinning weights; each row sums to one."""

    def __post_init__(self) -> None:
        num_vertices = len(self.v_template)
        check_array("v_template", self.v_template, (num_vertices, 3), contiguous=False)
        check_array("shapedirs", self.shapedirs, (num_vertices, 3, NUM_BETAS), contiguous=False)
        check_array(
            "weights", self.weights, (num_vertices, self.weights.shape[-1]), contiguous=False
        )


@dataclass(frozen=True)
class VertexMoments:
    """Spread of every vertex over the hypotheses, camera frame."""

    mean: Float[np.ndarray, "V 3"]
    """Metres."""
    cov: Float[np.ndarray, "V 6"]
    """xx, xy, xz, yy, yz, zz, square metres."""
    std: Float[np.ndarray, "V"]
    """sqrt(trace(cov) / 3), metres: root mean square over the axes."""


def skinned_moments_reference(
    betas: Float[np.ndarray, "K 10"],
    T_cam_rest: Float[np.ndarray, "K J 3 4"],
    pelvis: Float[np.ndarray, "K 3"],
    weights: Float[np.ndarray, "K"],
    mesh: SkinnedMesh,
) -> VertexMoments:
    """The specification, in the dtype of `T_cam_rest`; stores all K V vertices.

    Args:
        betas: SMPL shape coefficients.
        T_cam_rest: from `joints.py`.
        pelvis: position of joint 0 in the camera frame, metres.
        weights: of the hypotheses; non-negative, not all zero; only their ratios matter.
        mesh: to be posed.
    """
    rest = mesh.v_template + np.einsum("vcb,kb->kvc", mesh.shapedirs, betas)
    blended = np.einsum("vj,kjxy->kvxy", mesh.weights, T_cam_rest)
    vertices = np.einsum("kvxy,kvy->kvx", blended[..., :3], rest) + blended[..., 3]
    length = np.linalg.norm(pelvis[0])
    ray = pelvis[0] / (length if length > 0 else 1)
    moved = vertices + (((pelvis[0] - pelvis) @ ray)[:, None] * ray)[:, None]
    share = weights / weights.sum()
    mean = np.einsum("k,kvx->vx", share, moved)
    x, y, z = np.moveaxis(moved - mean, -1, 0)
    cov = np.stack(
        [share @ (a * b) for a, b in ((x, x), (x, y), (x, z), (y, y), (y, z), (z, z))], axis=-1
    )
    return VertexMoments(mean, cov, np.sqrt((cov[:, 0] + cov[:, 3] + cov[:, 5]) / 3))


def sparse_bones(
    weights: Float[np.ndarray, "V J"],
) -> tuple[Int[np.ndarray, "V S"], Float[np.ndarray, "V S"], Int[np.ndarray, "V"]]:
    """Return skinning weights as padded lists: bones, their weights, and their number."""
    counts = np.count_nonzero(weights, axis=1)
    counts = np.maximum(counts, 1).astype(np.int32)  # the kernel always reads the first
    width = int(counts.max(initial=1))
    bones = np.argsort(weights == 0, axis=1, kind="stable")[:, :width].astype(np.int32)
    return bones, np.take_along_axis(weights, bones, axis=1).astype(np.float32), counts


@wp.kernel
def skinned_moments_kernel(
    # constants
    v_template: wp.array(dtype=wp.vec3),  # (V,)
    shapedirs: wp.array2d(dtype=wp.vec3),  # (V, 10)
    bones: wp.array2d(dtype=wp.int32),  # (V, S)
    bone_weights: wp.array2d(dtype=wp.float32),  # (V, S)
    bone_counts: wp.array(dtype=wp.int32),  # (V,)
    # inputs
    betas: wp.array2d(dtype=wp.float32),  # (K, 10)
    T_cam_rest: wp.array2d(dtype=mat34),  # (K, J)
    pelvis: wp.array(dtype=wp.vec3),  # (K,)
    weights: wp.array(dtype=wp.float32),  # (K,)
    # outputs
    mean_out: wp.array(dtype=wp.vec3),  # (V,)
    cov_out: wp.array(dtype=vec6),  # (V,)
    std_out: wp.array(dtype=wp.float32),  # (V,)
):
    v = wp.tid()  # parallel over vertices
    count = bone_counts[v]
    ray = wp.normalize(pelvis[0])
    origin = pelvis[0]  # sums are of offsets from it: a body's size, not the distance to the camera
    total = wp.float32(0.0)
    mean = wp.vec3(0.0)
    # Six numbers, not a matrix or a vector of six: on the CPU those go through memory and take half
    # as long again.
    xx, xy, xz = wp.float32(0.0), wp.float32(0.0), wp.float32(0.0)
    yy, yz, zz = wp.float32(0.0), wp.float32(0.0), wp.float32(0.0)
    for k in range(weights.shape[0]):
        rest = v_template[v]
        for i in range(NUM_BETAS):  # a constant, so that the loop is unrolled
            rest += betas[k, i] * shapedirs[v, i]
        blended = bone_weights[v, 0] * T_cam_rest[k, bones[v, 0]]
        for b in range(1, count):
            blended += bone_weights[v, b] * T_cam_rest[k, bones[v, b]]
        farther = wp.dot(pelvis[k] - origin, ray)
        x = blended * wp.vec4(rest[0], rest[1], rest[2], 1.0) - origin - farther * ray
        weight = weights[k]
        total += weight
        step = gain(weight, total)
        d = x - mean
        mean += step * d
        scaled = (weight * (1.0 - step)) * d
        xx += scaled[0] * d[0]
        xy += scaled[0] * d[1]
        xz += scaled[0] * d[2]
        yy += scaled[1] * d[1]
        yz += scaled[1] * d[2]
        zz += scaled[2] * d[2]
    mean_out[v] = origin + mean
    cov_out[v] = vec6(xx, xy, xz, yy, yz, zz) / total
    std_out[v] = wp.sqrt((xx + yy + zz) / (3.0 * total))


class VertexPlan:
    """The fused operation for one mesh and a fixed K, with every buffer allocated once.

    Args:
        mesh: the decimated mesh.
        num_hypotheses: K.
        device: "cpu" or "cuda:N".
    """

    def __init__(self, mesh: SkinnedMesh, num_hypotheses: int, device: str = "cpu") -> None:
        opened = open_device(device)
        V, K = len(mesh.v_template), num_hypotheses
        self.betas = Buffer("betas", (K, NUM_BETAS), wp.float32, opened)
        self.T_cam_rest = Buffer("T_cam_rest", (K, mesh.weights.shape[1]), mat34, opened)
        self.pelvis = Buffer("pelvis", (K,), wp.vec3, opened)
        self.weights = Buffer("weights", (K,), wp.float32, opened)
        self.mean = Buffer("mean", (V,), wp.vec3, opened)
        self.cov = Buffer("cov", (V,), vec6, opened)
        self.std = Buffer("std", (V,), wp.float32, opened)
        bones, bone_weights, counts = sparse_bones(mesh.weights)
        constants = [
            wp.array(np.ascontiguousarray(mesh.v_template), dtype=wp.vec3, device=opened),
            wp.array(
                np.ascontiguousarray(mesh.shapedirs.transpose(0, 2, 1)),
                dtype=wp.vec3,
                device=opened,
            ),
            wp.array(bones, dtype=wp.int32, device=opened),
            wp.array(bone_weights, dtype=wp.float32, device=opened),
            wp.array(counts, dtype=wp.int32, device=opened),
        ]
        inputs = [b.array for b in (self.betas, self.T_cam_rest, self.pelvis, self.weights)]
        outputs = [b.array for b in (self.mean, self.cov, self.std)]
        self._command = record(
            skinned_moments_kernel, V, [*constants, *inputs], outputs, opened, block_dim=64
        )

    def launch(self) -> None:
        """Run on what the buffers hold, on the current stream; copies nothing."""
        self._command.launch()

    def __call__(
        self,
        betas: Float[np.ndarray, "K 10"],
        T_cam_rest: Float[np.ndarray, "K J 3 4"],
        pelvis: Float[np.ndarray, "K 3"],
        weights: Float[np.ndarray, "K"],
    ) -> VertexMoments:
        """Bring the inputs in, run, and return the results; see `skinned_moments_reference`."""
        self.betas.write(betas)
        self.T_cam_rest.write(T_cam_rest)
        self.pelvis.write(pelvis)
        self.weights.write(weights)
        check_weights(weights)
        self.launch()
        return VertexMoments(self.mean.read(), self.cov.read(), self.std.read())
