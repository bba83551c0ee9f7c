"""A motion capture file's tree of joints, rest pose, and rotation of each joint and frame.

Every reader brings its format to this form: the axes of all joints are parallel to the world's when
all rotations are the identity, the world is y up, lengths are metres.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Recording:
    """One recorded clip on its own skeleton of J joints; parents come before children."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of the parent, -1 for the root."""
    offsets: Float[np.ndarray, "J 3"]
    """Rest position of each joint relative to its parent, metres."""
    tips: Float[np.ndarray, "J 3"]
    """Rest position of the end of each joint's own bone relative to the joint, metres; zero where
    the file gives none.
    """
    rotations: Float[np.ndarray, "T J 3 3"]
    """Rotation of each joint relative to its parent."""
    root: Float[np.ndarray, "T 3"]
    """Position of the root joint in the world, metres."""
    fps: float

    def index(self, name: str) -> int:
        """Number a joint."""
        return self.names.index(name)

    def world_rotations(self) -> Float[np.ndarray, "T J 3 3"]:
        """Rotation of each joint from its rest orientation, in the world frame."""
        world = np.empty_like(self.rotations)
        for joint, parent in enumerate(self.parents):
            local = self.rotations[:, joint]
            world[:, joint] = local if parent < 0 else world[:, parent] @ local
        return world

    def world_positions(self, world: Float[np.ndarray, "T J 3 3"]) -> Float[np.ndarray, "T J 3"]:
        """Joint positions in the world, metres, given `world_rotations()`."""
        positions = np.empty(world.shape[:3])
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, joint] = self.root
            else:
                positions[:, joint] = positions[:, parent] + world[:, parent] @ self.offsets[joint]
        return positions

    def bone(self, name: str, child: str | None) -> Float[np.ndarray, "3"]:
        """Unit rest direction from a joint to its descendant `child`, or its own tip when None."""
        joint = self.index(name)
        if child is None:
            vector = self.tips[joint]
        else:
            node = self.index(child)
            vector = np.zeros(3)
            while node != joint:
                vector = vector + self.offsets[node]
                node = self.parents[node]
        return vector / np.linalg.norm(vector)
