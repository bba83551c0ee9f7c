"""The importer of TFLite networks."""

import numpy as np

from engines.blazepose.tflite_import import import_tflite
from engines.errors import PenumbraError
from tests.support.tiny_tflite import constant, convolution, network, schema

MAX_MB = 512


def seeds() -> list[bytes]:
    """Networks of one operator each."""
    s = schema()
    pool, depth, concat = s.Pool2DOptionsT(), s.DepthToSpaceOptionsT(), s.ConcatenationOptionsT()
    pool.strideW = pool.strideH = pool.filterWidth = pool.filterHeight = 2
    depth.blockSize = 1
    concat.axis = 3
    resize = s.ResizeBilinearOptionsT()
    resize.halfPixelCenters = True
    pads = constant(np.zeros((4, 2), np.int32))
    size = constant(np.array([8, 8], np.int32))
    options = s.BuiltinOptions
    return [
        convolution(),
        network("LOGISTIC"),
        network("PAD", constants=(pads,)),
        network("RESHAPE", constants=(constant(np.array([32], np.int32)),), out_shape=(32,)),
        network("MAX_POOL_2D", pool, options.Pool2DOptions, out_shape=(1, 2, 2, 2)),
        network("DEPTH_TO_SPACE", depth, options.DepthToSpaceOptions),
        network("CONCATENATION", concat, options.ConcatenationOptions),
        network("RESIZE_BILINEAR", resize, options.ResizeBilinearOptions, (size,), (1, 8, 8, 2)),
    ]


def read(data: bytes) -> None:
    """Import."""
    try:
        model = import_tflite(data, {0: "found"})
    except PenumbraError:
        return
    assert len(model.graph.output) == 1
