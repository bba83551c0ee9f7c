"""The ONNX operators that our networks use, in torch: a table from operator name to a function.

A function takes the node's attributes and its inputs, in ONNX's order, and returns the only output.
Inputs that are parameters rather than data (a shape, axes, pads) are listed in `Op.host`: they are
constants, passed as lists of Python numbers, so that a run never waits for the GPU. Each operator
means what it does in ONNX opset 13 to 21 (https://onnx.ai/onnx/operators); variants that our
networks do not use are refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = Mapping[str, Any]

# ONNX's numbers for element types (onnx.TensorProto.DataType).
# fmt: off
DTYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}
# fmt: on


class UnsupportedError(Exception):
    """Raised for a variant of an operator that is not implemented; the message names it."""


@dataclass(frozen=True)
class Op:
    """One operator."""

    function: Callable[..., Tensor]
    host: tuple[int, ...] = ()
    """Positions of the inputs that arrive as lists of Python numbers."""


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UnsupportedError(what)


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    return Op(lambda attributes, a, b: function(a, b))


def _single(function: Callable[[Tensor], Tensor]) -> Op:
    return Op(lambda attributes, x: function(x))


# Convolution, pooling, images


def _pad_both_sides(x: Tensor, pads: Sequence[int], value: float) -> tuple[Tensor, list[int]]:
    """Pad here where the two sides differ, which torch's layers cannot do.

    Returns:
        The tensor, and the symmetric padding that is left to do.
    """
    rank = len(pads) // 2
    begin, end = list(pads[:rank]), list(pads[rank:])
    if begin == end:
        return x, begin
    return F.pad(x, _torch_pads(pads), value=value), [0] * rank


def _torch_pads(pads: Sequence[int]) -> list[int]:
    """ONNX: all beginnings, then all ends. Torch: (begin, end) pairs, last axis first."""
    rank = len(pads) // 2
    return [size for axis in reversed(range(rank)) for size in (pads[axis], pads[axis + rank])]


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _require(
        attributes.get("auto_pad", "NOTSET") == "NOTSET" and x.ndim == 4,
        "auto_pad, or other than 2D",
    )
    x, padding = _pad_both_sides(x, attributes.get("pads", [0, 0, 0, 0]), 0.0)
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return F.conv2d(x, weight, bias, stride, padding, dilation, attributes.get("group", 1))


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    _require(
        attributes.get("auto_pad", "NOTSET") == "NOTSET" and x.ndim == 4,
        "auto_pad, or other than 2D",
    )
    kernel = attributes["kernel_shape"]
    x, padding = _pad_both_sides(x, attributes.get("pads", [0, 0, 0, 0]), float("-inf"))
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return F.max_pool2d(x, kernel, stride, padding, dilation, bool(attributes.get("ceil_mode", 0)))


def _resize(
    attributes: Attributes,
    x: Tensor,
    roi: list[float] | None = None,
    scales: list[float] | None = None,
    sizes: list[int] | None = None,
) -> Tensor:
    mode, corner = (
        attributes.get("mode", "nearest"),
        attributes.get("coordinate_transformation_mode", "half_pixel"),
    )
    _require((mode, corner) == ("linear", "half_pixel"), f"{mode} with {corner}")
    _require(x.ndim == 4 and not attributes.get("antialias", 0), "antialias, or other than 2D")
    _require(not sizes, "sizes in place of scales")
    assert scales, "Resize has neither scales nor sizes"
    new = [round(size * scale) for size, scale in zip(x.shape, scales, strict=True)]
    exact = all(abs(size * s - n) < 1e-3 for size, s, n in zip(x.shape, scales, new, strict=True))
    _require(exact, f"scales {scales} that give no whole number of pixels")
    _require(new[:2] == list(x.shape[:2]), "a change of batch or channels")
    return F.interpolate(x, new[2:], mode="bilinear")


def _depth_to_space(attributes: Attributes, x: Tensor) -> Tensor:
    block, mode = attributes["blocksize"], attributes.get("mode", "DCR")
    _require(mode == "DCR", f"mode {mode}")
    n, c, h, w = x.shape
    x = x.reshape(
        n, block, block, c // block**2, h, w
    )  # (N, row in block, column in block, C, H, W)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


def _pad(
    attributes: Attributes,
    x: Tensor,
    pads: list[int],
    value: list[float] | None = None,
    axes: list[int] | None = None,
) -> Tensor:
    mode = attributes.get("mode", "constant")
    _require(mode == "constant", f"mode {mode}")
    _require(axes is None, "axes")
    return F.pad(x, _torch_pads(pads), value=value[0] if value else 0.0)


# Dense layers, normalisation


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = a.T if attributes.get("transA", 0) else a, b.T if attributes.get("transB", 0) else b
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if c is not None:
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)
    return a @ b if alpha == 1.0 else alpha * (a @ b)


def _layer_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    shape = x.shape[attributes.get("axis", -1) % x.ndim :]
    scale, bias = scale.expand(shape), None if bias is None else bias.expand(shape)
    return F.layer_norm(x, shape, scale, bias, attributes.get("epsilon", 1e-5))


def _clip(
    attributes: Attributes,
    x: Tensor,
    low: list[float] | None = None,
    high: list[float] | None = None,
) -> Tensor:
    if not low and not high:
        return x
    return x.clamp(low[0] if low else None, high[0] if high else None)


def _reduce_sum(attributes: Attributes, x: Tensor, axes: list[int] | None = None) -> Tensor:
    _require(bool(axes) or not attributes.get("noop_with_empty_axes", 0), "noop_with_empty_axes")
    return x.sum(axes or None, keepdim=bool(attributes.get("keepdims", 1)))


# Shapes and selection


def _reshape(attributes: Attributes, x: Tensor, shape: list[int]) -> Tensor:
    _require(not attributes.get("allowzero", 0), "allowzero")
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))


def _unsqueeze(attributes: Attributes, x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _slice(
    attributes: Attributes,
    x: Tensor,
    starts: list[int],
    ends: list[int],
    axes: list[int] | None = None,
    steps: list[int] | None = None,
) -> Tensor:
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        positions = range(*slice(start, end, step).indices(x.shape[axis]))
        if step < 0:  # torch has no negative steps: select the same elements forwards, then flip
            positions = positions[::-1]
        x = x[
            (slice(None),) * (axis % x.ndim)
            + (slice(positions.start, positions.stop, positions.step),)
        ]
        x = x.flip(axis) if step < 0 else x
    return x


def _gather(attributes: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index)
    rows = x.index_select(axis, index.reshape(-1))
    return rows.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _mod(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    _require(not attributes.get("fmod", 0), "fmod")
    return torch.remainder(a, b)


def _div(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    _require(attributes["to"] in DTYPES, f"element type {attributes['to']}")
    return x.to(DTYPES[attributes["to"]])


OPS: dict[str, Op] = {
    "Abs": _single(torch.abs),
    "Add": _pairwise(torch.add),
    "Cast": Op(_cast),
    "Clip": Op(_clip, host=(1, 2)),
    "Concat": Op(lambda attributes, *parts: torch.cat(parts, attributes["axis"])),
    "Conv": Op(_conv),
    "DepthToSpace": Op(_depth_to_space),
    "Div": _pairwise(_div),
    "Exp": _single(torch.exp),
    "Gather": Op(_gather),
    "Gemm": Op(_gemm),
    "Identity": _single(lambda x: x),
    "LayerNormalization": Op(_layer_norm),
    "Less": _pairwise(torch.lt),
    "Log": _single(torch.log),
    "MatMul": _pairwise(torch.matmul),
    "MaxPool": Op(_max_pool),
    "Mod": Op(_mod),
    "Mul": _pairwise(torch.mul),
    "Neg": _single(torch.neg),
    "Pad": Op(_pad, host=(1, 2, 3)),
    "ReduceSum": Op(_reduce_sum, host=(1,)),
    "Reshape": Op(_reshape, host=(1,)),
    "Resize": Op(_resize, host=(1, 2, 3)),
    "Shape": Op(
        lambda attributes, x: torch.tensor(
            x.shape[attributes.get("start", 0) : attributes.get("end")]
        )
    ),
    "Sigmoid": _single(torch.sigmoid),
    "Sin": _single(torch.sin),
    "Slice": Op(_slice, host=(1, 2, 3, 4)),
    "Softplus": _single(F.softplus),
    "Sqrt": _single(torch.sqrt),
    "Sub": _pairwise(torch.sub),
    "Tanh": _single(torch.tanh),
    "Transpose": Op(_transpose),
    "Unsqueeze": Op(_unsqueeze, host=(1,)),
    "Where": Op(lambda attributes, condition, a, b: torch.where(condition, a, b)),
}
