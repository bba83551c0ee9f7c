"""Inference libraries without the telemetry that they come with.

On import, OpenVINO starts a process that reports the import to an analytics host; ONNX Runtime
writes a device id and reports sessions. Both take silence for consent. They are imported inside of
`no_telemetry` everywhere, and report nothing; tests/test_network.py watches over it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OPENVINO_CLIENT = "openvino_telemetry"


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import OpenVINO or ONNX Runtime inside of this block.

    OpenVINO does without its telemetry client where that cannot be imported, so it cannot be,
    for as long as the block lasts. ONNX Runtime has a switch, which stays off for this process and
    its children.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    client = sys.modules.get(_OPENVINO_CLIENT)
    sys.modules[_OPENVINO_CLIENT] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_OPENVINO_CLIENT]
        if client is not None:
            sys.modules[_OPENVINO_CLIENT] = client
