"""Acclaim motion capture to a `Recording`: `.asf`, a subject's skeleton, and `.amc`, a clip.

In an ASF file a bone has a direction and a length in the world frame of the rest pose, and a frame
of its own (`axis`, C) in which its AMC angles are given. The rotation of the bone relative to its
parent is C R C^-1. Angles named X, Y, Z are applied in that order, R = Rz Ry Rx, as the `order` and
`axis XYZ` entries of the files say. The joint called after a bone sits where the bone begins.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from engines.errors import PenumbraError
from trainer.motion.recording import Recording

METRES_PER_UNIT = 0.0254 / 0.45
"""CMU's unit of length is an inch divided by the 0.45 that its files declare."""


@dataclass(frozen=True)
class Asf:
    """The skeleton of one subject; bone 0 is the root, of length zero.

    Parents come before children.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    bones: Float[np.ndarray, "J 3"]
    """Direction times length of each bone in the rest pose, metres."""
    axes: Float[np.ndarray, "J 3 3"]
    """Orientation of the frame of each bone's angles."""
    channels: dict[str, tuple[str, ...]]
    """Names of the AMC numbers of each bone: tx, ty, tz, rx, ry, rz."""


def read_asf(path: Path, metres_per_unit: float = METRES_PER_UNIT) -> Asf:
    """Read the skeleton.

    Raises:
        PenumbraError: the file is not an ASF skeleton with angles in degrees.
    """
    sections = _sections(path)
    for needed in ("root", "bonedata", "hierarchy"):
        if needed not in sections:
            raise PenumbraError(
                f"{path}: has no :{needed} section; give the .asf skeleton of the .amc file."
            )
    if not re.search(r"angle\s+deg", sections.get("units", "")):
        raise PenumbraError(f"{path}: does not declare angles in degrees; convert it.")

    order = re.search(r"order\s+(.*)", sections["root"])
    channels = {
        "root": tuple(order.group(1).lower().split())
        if order
        else ("tx", "ty", "tz", "rx", "ry", "rz")
    }
    bones, axes = {"root": np.zeros(3)}, {"root": _root_orientation(sections["root"])}
    for block in re.findall(r"begin(.*?)end", sections["bonedata"], flags=re.DOTALL):
        fields = {
            line.split()[0]: line.split()[1:] for line in block.strip().splitlines() if line.strip()
        }
        name = fields["name"][0]
        bones[name] = (
            np.array(fields["direction"][:3], float) * float(fields["length"][0]) * metres_per_unit
        )
        axes[name] = _euler(fields["axis"][3], np.array(fields["axis"][:3], float))
        channels[name] = tuple(dof.lower() for dof in fields.get("dof", []))

    names, parents = _hierarchy(sections["hierarchy"])
    return Asf(
        names=names,
        parents=parents,
        bones=np.stack([bones[name] for name in names]),
        axes=np.stack([axes[name] for name in names]),
        channels=channels,
    )


def read_amc(
    path: Path, asf: Asf, fps: float, metres_per_unit: float = METRES_PER_UNIT
) -> Recording:
    """Read one clip of the skeleton `asf`; AMC files do not state their rate, so `fps` is given.

    Raises:
        PenumbraError: the file is truncated or names bones that the skeleton does not have.
    """
    values = _amc_values(path, asf)
    frames = len(next(iter(values.values())))
    rotations = np.tile(np.eye(3), (frames, len(asf.names), 1, 1))
    for joint, name in enumerate(asf.names):
        if name in values:
            axis = asf.axes[joint]
            rotations[:, joint] = axis @ _angles(values[name], asf.channels[name]) @ axis.T

    parents = np.array(asf.parents)
    offsets = np.where(parents[:, None] >= 0, asf.bones[parents], 0.0)
    columns = [asf.channels["root"].index(channel) for channel in ("tx", "ty", "tz")]
    root = values["root"][:, columns] * metres_per_unit
    return Recording(asf.names, asf.parents, offsets, asf.bones, rotations, root, fps)


def _sections(path: Path) -> dict[str, str]:
    text = re.sub(r"#.*", "", path.read_text(encoding="latin-1"))
    parts = re.split(r"^:(\w+)", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _root_orientation(section: str) -> Float[np.ndarray, "3 3"]:
    found = re.search(r"orientation\s+(\S+)\s+(\S+)\s+(\S+)", section)
    return _euler("XYZ", np.array(found.groups(), float)) if found else np.eye(3)


def _hierarchy(section: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names, parents = ["root"], [-1]
    for line in section.splitlines():
        words = line.split()
        if len(words) > 1:
            parent = names.index(words[0])
            names += words[1:]
            parents += [parent] * (len(words) - 1)
    return tuple(names), tuple(parents)


def _euler(order: str, degrees: Float[np.ndarray, "*T n"]) -> Float[np.ndarray, "*T 3 3"]:
    """Rotate by angles about fixed axes, applied in the order in which they are listed."""
    return Rotation.from_euler(order.lower(), degrees, degrees=True).as_matrix()


def _angles(
    values: Float[np.ndarray, "T n"], channels: tuple[str, ...]
) -> Float[np.ndarray, "T 3 3"]:
    columns = [i for i, channel in enumerate(channels) if channel.startswith("r")]
    return _euler("".join(channels[i][1] for i in columns), values[:, columns])


def _amc_values(path: Path, asf: Asf) -> dict[str, Float[np.ndarray, "T n"]]:
    """Read the numbers of each bone that moves.

    A bone that a frame leaves out is at rest in it, as in the last frame of 07_12.
    """
    lines = [line.split() for line in path.read_text(encoding="latin-1").splitlines()]
    starts = [i for i, words in enumerate(lines) if len(words) == 1 and words[0].isdigit()]
    if not starts:
        raise PenumbraError(f"{path}: has no frames; give an AMC file.")
    values = {
        name: np.zeros((len(starts), len(channels)))
        for name, channels in asf.channels.items()
        if channels
    }
    for frame, (start, stop) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True)):
        if stop == start + 1 or lines[start + 1][0] != "root":
            raise PenumbraError(
                f"{path}: has no root in frame {frame + 1}, it is truncated; get it again."
            )
        for name, *numbers in filter(None, lines[start + 1 : stop]):
            if len(asf.channels.get(name, ())) != len(numbers):
                raise PenumbraError(
                    f"{path}: '{name}' of frame {frame + 1} does not fit the skeleton; give the"
                    " right .asf."
                )
            values[name][frame] = numbers
    return values
