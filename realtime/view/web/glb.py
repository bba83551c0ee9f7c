"""Meshes with a colour and an opacity at each vertex, as binary glTF 2.0 (.glb).

Of the mesh formats that viser's browser side reads, this alone carries colours of vertices.
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct

import numpy as np
from jaxtyping import Float, Int

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_MATTE = {"metallicFactor": 0.0, "roughnessFactor": 1.0}


def encode(
    vertices: Float[np.ndarray, "V 3"],
    rgba: Float[np.ndarray, "V 4"],
    solid: Int[np.ndarray, "F 3"],
    translucent: Int[np.ndarray, "G 3"],
) -> bytes:
    """Return the file.

    Args:
        vertices: Metres.
        rgba: Linear light; the opacity is used by translucent faces only.
        solid: Faces that hide what is behind them.
        translucent: Faces that are blended with what is behind them.
    """
    parts = [vertices.astype("<f4"), rgba.astype("<f4")]
    accessors = [
        _accessor(0, _FLOAT, len(vertices), "VEC3")
        | {"min": parts[0].min(axis=0).tolist(), "max": parts[0].max(axis=0).tolist()},
        _accessor(1, _FLOAT, len(vertices), "VEC4"),
    ]
    primitives, materials = [], []
    small = len(vertices) <= np.iinfo(np.uint16).max
    for faces, mode in ((solid, "OPAQUE"), (translucent, "BLEND")):
        if faces.size:
            view = len(parts)
            parts.append(faces.astype("<u2" if small else "<u4"))
            accessors.append(_accessor(view, _UINT16 if small else _UINT32, faces.size, "SCALAR"))
            attributes = {"POSITION": 0, "COLOR_0": 1}
            primitives.append(
                {"attributes": attributes, "indices": view, "material": len(materials)}
            )
            materials.append({"pbrMetallicRoughness": _MATTE, "alphaMode": mode})
    views, data = _buffer([part.tobytes() for part in parts])
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": primitives}],
        "materials": materials,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    return _container(json.dumps(document, separators=(",", ":")).encode(), data)


def _accessor(view: int, kind: int, count: int, shape: str) -> dict[str, object]:
    return {"bufferView": view, "componentType": kind, "count": count, "type": shape}


def _buffer(parts: list[bytes]) -> tuple[list[dict[str, int]], bytes]:
    """Return the buffer views of the parts and the buffer, every part aligned to 4 bytes."""
    views, data = [], b""
    for part in parts:
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(part)})
        data += part + bytes(-len(part) % 4)
    return views, data


def _container(document: bytes, data: bytes) -> bytes:
    document += b" " * (-len(document) % 4)
    length = 12 + 8 + len(document) + 8 + len(data)
    header = struct.pack("<4sII", b"glTF", 2, length)
    json_chunk = struct.pack("<I4s", len(document), b"JSON") + document
    return header + json_chunk + struct.pack("<I4s", len(data), b"BIN\0") + data
