"""The ONNX operators that our networks use, in torch: a table from operator name to a function.

A function takes the node's attributes and its inputs, in ONNX's order, and returns a tensor or a tuple of them. Inputs
that steer rather than flow (a shape, axes, pads) are listed in `Op.host`: they are constants, and arrive as lists of
Python numbers, so that nothing in a run waits for the GPU. The meaning of every operator is that of ONNX opset 13 to
21: https://onnx.ai/onnx/operators.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

Attributes = Mapping[str, Any]

# ONNX's numbers for element types (onnx.TensorProto.DataType).
# fmt: off
DTYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}
# fmt: on


class UnsupportedError(Exception):
    """A node asks for something that its function below does not do. The message says what."""


@dataclass(frozen=True)
class Op:
    """One operator."""

    function: Callable[..., Tensor | tuple[Tensor, ...]]
    host: tuple[int, ...] = ()
    """Positions of the inputs that arrive as lists of Python numbers."""


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UnsupportedError(what)


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    return Op(lambda attributes, a, b: function(a, b))


def _single(function: Callable[[Tensor], Tensor]) -> Op:
    return Op(lambda attributes, x: function(x))


# ---- convolution, pooling, pictures ---------------------------------------------------------------------------------


def _pad_both_sides(x: Tensor, pads: Sequence[int], value: float) -> tuple[Tensor, list[int]]:
    """Torch pads both sides alike; pad here what differs. Returns the tensor and the padding that is left to do."""
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
    _require(attributes.get("auto_pad", "NOTSET") == "NOTSET", "auto_pad")
    rank = x.ndim - 2
    _require(rank in (1, 2), f"{rank} spatial dimensions")
    x, padding = _pad_both_sides(x, attributes.get("pads", [0] * 2 * rank), 0.0)
    convolve = F.conv1d if rank == 1 else F.conv2d
    stride, dilation = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    return convolve(x, weight, bias, stride, padding, dilation, attributes.get("group", 1))


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    _require(attributes.get("auto_pad", "NOTSET") == "NOTSET" and x.ndim == 4, "auto_pad, or other than 2D")
    kernel = attributes["kernel_shape"]
    x, padding = _pad_both_sides(x, attributes.get("pads", [0, 0, 0, 0]), float("-inf"))
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return F.max_pool2d(x, kernel, stride, padding, dilation, bool(attributes.get("ceil_mode", 0)))


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    _require(attributes.get("auto_pad", "NOTSET") == "NOTSET" and x.ndim == 4, "auto_pad, or other than 2D")
    _require(pads[:2] == pads[2:] and not attributes.get("ceil_mode", 0), "uneven pads or ceil_mode")
    stride, counts = attributes.get("strides", [1, 1]), bool(attributes.get("count_include_pad", 0))
    return F.avg_pool2d(x, attributes["kernel_shape"], stride, pads[:2], count_include_pad=counts)


def _resize(
    attributes: Attributes,
    x: Tensor,
    roi: None = None,
    scales: list[float] | None = None,
    sizes: list[int] | None = None,
) -> Tensor:
    mode, corner = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    _require(x.ndim == 4 and not attributes.get("antialias", 0), "antialias, or other than 2D")
    if not sizes:
        assert scales, "Resize has neither scales nor sizes"
        sizes = [round(size * scale) for size, scale in zip(x.shape, scales, strict=True)]
        exact = all(abs(size * s - n) < 1e-3 for size, s, n in zip(x.shape, scales, sizes, strict=True))
        _require(exact, f"scales {scales} that give no whole number of pixels")
    _require(sizes[:2] == list(x.shape[:2]), "a change of batch or channels")
    if mode == "linear" and corner in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, sizes[2:], mode="bilinear", align_corners=corner == "align_corners")
    nearest = (mode, corner, attributes.get("nearest_mode", "round_prefer_floor"))
    _require(nearest == ("nearest", "asymmetric", "floor"), f"{mode} with {corner}")
    return F.interpolate(x, sizes[2:], mode="nearest")


def _depth_to_space(attributes: Attributes, x: Tensor) -> Tensor:
    block = attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    x = x.reshape(n, block, block, c // block**2, h, w)  # (N, row in block, column in block, C, H, W)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


def _pad(
    attributes: Attributes, x: Tensor, pads: list[int], value: list[float] | None = None, axes: list[int] | None = None
) -> Tensor:
    if axes is not None:
        full = [0] * 2 * x.ndim
        for i, axis in enumerate(axes):
            full[axis % x.ndim], full[axis % x.ndim + x.ndim] = pads[i], pads[i + len(axes)]
        pads = full
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        return F.pad(x, _torch_pads(pads), value=value[0] if value else 0.0)
    _require(mode in ("reflect", "edge") and x.ndim == 4 and not any(pads[:2] + pads[4:6]), f"mode {mode}")
    return F.pad(x, _torch_pads(pads)[:4], mode="replicate" if mode == "edge" else "reflect")


# ---- dense layers, normalisation ------------------------------------------------------------------------------------


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = a.T if attributes.get("transA", 0) else a, b.T if attributes.get("transB", 0) else b
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if c is not None:
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)
    return a @ b if alpha == 1.0 else alpha * (a @ b)


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[attributes.get("axis", -1) % x.ndim :]
    scale, bias = scale.expand(shape), None if bias is None else bias.expand(shape)
    return F.layer_norm(x, shape, scale, bias, attributes.get("epsilon", 1e-5))


def _batch_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    _require(not attributes.get("training_mode", 0), "training_mode")
    return F.batch_norm(x, mean, var, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _prelu(attributes: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _clip(attributes: Attributes, x: Tensor, low: list[float] | None = None, high: list[float] | None = None) -> Tensor:
    if not low and not high:
        return x
    return x.clamp(low[0] if low else None, high[0] if high else None)


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Op:
    """The axes are an input in newer operator sets and an attribute in older ones."""

    def reduce(attributes: Attributes, x: Tensor, axes: list[int] | None = None) -> Tensor:
        axes = axes or list(attributes.get("axes", []))
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return x
        return function(x, axes or list(range(x.ndim)), bool(attributes.get("keepdims", 1)))

    return Op(reduce, host=(1,))


# ---- shapes and choices ---------------------------------------------------------------------------------------------


def _constant_of_shape(attributes: Attributes, shape: list[int]) -> Tensor:
    _require("value" in attributes, "no value")
    return torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy()).expand(shape)


def _reshape(attributes: Attributes, x: Tensor, shape: list[int]) -> Tensor:
    _require(not attributes.get("allowzero", 0), "allowzero")
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    return x.reshape(x.shape[:axis].numel(), -1)


def _squeeze(attributes: Attributes, x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(attributes: Attributes, x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _expand(attributes: Attributes, x: Tensor, shape: list[int]) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


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
        if step < 0:  # Torch has no negative steps: cut the same elements out forwards, then turn them round.
            positions = positions[::-1]
        x = x[(slice(None),) * (axis % x.ndim) + (slice(positions.start, positions.stop, positions.step),)]
        x = x.flip(axis) if step < 0 else x
    return x


def _split(attributes: Attributes, x: Tensor, sizes: list[int] | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    if sizes:
        return x.split(sizes, axis)
    return x.split(-(-x.shape[axis] // attributes["num_outputs"]), axis)


def _gather(attributes: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index)
    rows = x.index_select(axis, index.reshape(-1))
    return rows.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _gather_elements(attributes: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = attributes.get("axis", 0)
    return x.gather(axis, torch.where(index < 0, index + x.shape[axis], index))


def _mod(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if attributes.get("fmod", 0) else torch.remainder(a, b)


def _div(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    _require(attributes["to"] in DTYPES, f"element type {attributes['to']}")
    return x.to(DTYPES[attributes["to"]])


def _cumsum(attributes: Attributes, x: Tensor, axis: list[int]) -> Tensor:
    _require(not attributes.get("exclusive", 0) and not attributes.get("reverse", 0), "exclusive or reverse")
    return x.cumsum(axis[0])


def _gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=attributes.get("approximate", "none"))


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """An operator on any number of inputs, as a chain of pairs."""

    def fold(attributes: Attributes, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return Op(fold)


OPS: dict[str, Op] = {
    "Abs": _single(torch.abs),
    "Acos": _single(torch.acos),
    "Add": _pairwise(torch.add),
    "And": _pairwise(torch.logical_and),
    "Asin": _single(torch.asin),
    "Atan": _single(torch.atan),
    "AveragePool": Op(_average_pool),
    "BatchNormalization": Op(_batch_norm),
    "Cast": Op(_cast),
    "Ceil": _single(torch.ceil),
    "Clip": Op(_clip, host=(1, 2)),
    "Concat": Op(lambda attributes, *parts: torch.cat(parts, attributes["axis"])),
    "ConstantOfShape": Op(_constant_of_shape, host=(0,)),
    "Conv": Op(_conv),
    "Cos": _single(torch.cos),
    "CumSum": Op(_cumsum, host=(1,)),
    "DepthToSpace": Op(_depth_to_space),
    "Div": _pairwise(_div),
    "Einsum": Op(lambda attributes, *parts: torch.einsum(attributes["equation"], *parts)),
    "Elu": Op(lambda attributes, x: F.elu(x, attributes.get("alpha", 1.0))),
    "Equal": _pairwise(torch.eq),
    "Erf": _single(torch.erf),
    "Exp": _single(torch.exp),
    "Expand": Op(_expand, host=(1,)),
    "Flatten": Op(_flatten),
    "Floor": _single(torch.floor),
    "Gather": Op(_gather),
    "GatherElements": Op(_gather_elements),
    "Gelu": Op(_gelu),
    "Gemm": Op(_gemm),
    "GlobalAveragePool": Op(lambda attributes, x: x.mean(tuple(range(2, x.ndim)), keepdim=True)),
    "Greater": _pairwise(torch.gt),
    "GreaterOrEqual": _pairwise(torch.ge),
    "Identity": _single(lambda x: x),
    "LayerNormalization": Op(_layer_norm),
    "LeakyRelu": Op(lambda attributes, x: F.leaky_relu(x, attributes.get("alpha", 0.01))),
    "Less": _pairwise(torch.lt),
    "LessOrEqual": _pairwise(torch.le),
    "Log": _single(torch.log),
    "LogSoftmax": Op(lambda attributes, x: x.log_softmax(attributes.get("axis", -1))),
    "MatMul": _pairwise(torch.matmul),
    "Max": _fold(torch.maximum),
    "MaxPool": Op(_max_pool),
    "Min": _fold(torch.minimum),
    "Mod": Op(_mod),
    "Mul": _pairwise(torch.mul),
    "Neg": _single(torch.neg),
    "Not": _single(torch.logical_not),
    "Or": _pairwise(torch.logical_or),
    "PRelu": Op(_prelu),
    "Pad": Op(_pad, host=(1, 2, 3)),
    "Pow": _pairwise(torch.pow),
    "Reciprocal": _single(torch.reciprocal),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": _single(torch.relu),
    "Reshape": Op(_reshape, host=(1,)),
    "Resize": Op(_resize, host=(1, 2, 3)),
    "Shape": Op(lambda attributes, x: torch.tensor(x.shape[attributes.get("start", 0) : attributes.get("end")])),
    "Sigmoid": _single(torch.sigmoid),
    "Sign": _single(torch.sign),
    "Sin": _single(torch.sin),
    "Slice": Op(_slice, host=(1, 2, 3, 4)),
    "Softmax": Op(lambda attributes, x: x.softmax(attributes.get("axis", -1))),
    "Softplus": _single(F.softplus),
    "Split": Op(_split, host=(1,)),
    "Sqrt": _single(torch.sqrt),
    "Squeeze": Op(_squeeze, host=(1,)),
    "Sub": _pairwise(torch.sub),
    "Sum": _fold(torch.add),
    "Tanh": _single(torch.tanh),
    "Tile": Op(lambda attributes, x, repeats: x.tile(repeats), host=(1,)),
    "Transpose": Op(_transpose),
    "Unsqueeze": Op(_unsqueeze, host=(1,)),
    "Where": Op(lambda attributes, condition, a, b: torch.where(condition, a, b)),
}
