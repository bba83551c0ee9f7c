"""Biovision motion capture: one `.bvh` file (skeleton and clip) to a `Recording`.

The rotation of a joint is the product of its channels' rotations in the order in which the file
lists them, leftmost first: `Zrotation Yrotation Xrotation` is Rz Ry Rx. Any order of channels is
read.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from engines.errors import PenumbraError
from trainer.motion.recording import Recording


def read_bvh(path: Path, metres_per_unit: float) -> Recording:
    """Read one clip.

    Args:
        path: the file.
        metres_per_unit: BVH does not state its unit of length.

    Raises:
        PenumbraError: the file is truncated or not BVH.
    """
    head, separator, motion = path.read_text(encoding="latin-1").partition("MOTION")
    if not separator:
        raise PenumbraError(f"{path}: has no MOTION section; give a whole BVH file.")
    names, parents, offsets, tips, channels = _hierarchy(head.split())
    words = motion.split()
    try:
        frames = int(words[words.index("Frames:") + 1])
        seconds = float(words[words.index("Time:") + 1])
        numbers = np.array(words[words.index("Time:") + 2 :], float)
    except (ValueError, IndexError) as error:
        raise PenumbraError(
            f"{path}: its MOTION section cannot be read ({error}); give a whole BVH file."
        ) from error
    width = sum(len(joint) for joint in channels)
    if frames < 1 or numbers.size != frames * width:
        raise PenumbraError(
            f"{path}: holds {numbers.size} numbers, not {frames} frames of {width}; give a whole"
            " BVH file."
        )

    table = numbers.reshape(frames, width)
    rotations = np.tile(np.eye(3), (frames, len(names), 1, 1))
    root = np.tile(offsets[0], (frames, 1))
    start = 0
    for joint, listed in enumerate(channels):
        values = table[:, start : start + len(listed)]
        start += len(listed)
        turns = [i for i, channel in enumerate(listed) if channel.endswith("rotation")]
        if turns:
            # Upper-case letters: scipy then multiplies in the listed order.
            order = "".join(listed[i][0].upper() for i in turns)
            rotations[:, joint] = Rotation.from_euler(
                order, values[:, turns], degrees=True
            ).as_matrix()
        if joint == 0:
            for i, channel in enumerate(listed):
                if channel.endswith("position"):
                    root[:, "XYZ".index(channel[0].upper())] += values[:, i]
    scale = metres_per_unit
    return Recording(
        tuple(names),
        tuple(parents),
        offsets * scale,
        tips * scale,
        rotations,
        root * scale,
        1 / seconds,
    )


def joint_names(path: Path) -> tuple[str, ...]:
    """Names of the joints, without reading the motion: they tell which program wrote the file."""
    head = path.read_text(encoding="latin-1").partition("MOTION")[0].split()
    return tuple(head[i + 1] for i, word in enumerate(head) if word in ("ROOT", "JOINT"))


def _hierarchy(
    words: list[str],
) -> tuple[
    list[str], list[int], Float[np.ndarray, "J 3"], Float[np.ndarray, "J 3"], list[list[str]]
]:
    """Read names, parents, offsets, tips and channel names of each joint from the nested blocks."""
    names, parents, offsets, channels = [], [], [], []
    tips: dict[int, list[float]] = {}
    stack: list[int] = []
    in_end_site = False
    for i, word in enumerate(words):
        if word in ("ROOT", "JOINT"):
            parents.append(stack[-1] if stack else -1)
            stack.append(len(names))
            names.append(words[i + 1])
        elif word == "End":
            in_end_site = True
        elif word == "OFFSET":
            offset = [float(number) for number in words[i + 1 : i + 4]]
            if in_end_site:
                tips[stack[-1]] = offset
            else:
                offsets.append(offset)
        elif word == "CHANNELS":
            channels.append(words[i + 2 : i + 2 + int(words[i + 1])])
        elif word == "}":
            if in_end_site:
                in_end_site = False
            else:
                stack.pop()
    end = np.array([tips.get(joint, [0.0, 0.0, 0.0]) for joint in range(len(names))])
    return names, parents, np.array(offsets), end, channels
