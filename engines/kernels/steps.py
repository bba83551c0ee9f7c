"""Bodies moved by a step each: their joints, the projections of some, and how these depend on it.

The coordinates of a step (85 numbers) are those of `engines.coordinates`. Of the Jacobian only the
columns that marked joints depend on are stored: turns of the bones above them, shape, and pelvis.
The kernels and what they compute: `step_kernels.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import warp as wp
from jaxtyping import Bool, Float

from engines.kernels.joints import Skeleton, mat34
from engines.kernels.launch import Buffer, open_device, record
from engines.kernels.step_kernels import jacobian_kernel, move_kernel, steps_from_first_kernel
from engines.types import NUM_BETAS


@dataclass(frozen=True)
class Marks:
    """What is predicted of a body: joints in the image, and angles of hinges."""

    joints: tuple[int, ...]
    """Joints that are projected."""
    hinges: tuple[tuple[int, int], ...]
    """Joint, and component of its rotation vector."""


@dataclass(frozen=True)
class MovedBodies:
    """K bodies after their steps."""

    rotvec: Float[np.ndarray, "K J 3"]
    """Axis-angle, each relative to its parent, the root relative to the camera."""
    betas: Float[np.ndarray, "K 10"]
    transl: Float[np.ndarray, "K 3"]
    """SMPL's `transl`, metres."""
    joints: Float[np.ndarray, "K J 3"]
    """Camera frame, metres."""
    T_cam_rest: Float[np.ndarray, "K J 3 4"]
    """Skinning matrices, as in `engines.kernels.joints`."""


class _Constants:
    """What the kernels are told of a skeleton and its marks, on the device."""

    def __init__(self, skeleton: Skeleton, marks: Marks, device: wp.Device) -> None:
        def vectors(values: np.ndarray) -> wp.array:
            return wp.array(np.ascontiguousarray(values), dtype=wp.vec3, device=device)

        def numbers(values: Sequence[int] | np.ndarray) -> wp.array:
            return wp.array(np.array(values, np.int32), dtype=wp.int32, device=device)

        bones = moving_bones(skeleton.parents, marks.joints)
        column = np.full(len(skeleton.parents), -1)
        column[list(bones)] = 3 * np.arange(len(bones))
        self.template = vectors(skeleton.J_template)
        self.shapedirs = vectors(skeleton.J_shapedirs.transpose(0, 2, 1))
        self.parents = numbers(skeleton.parents)
        self.marked = numbers(marks.joints)
        self.hinges = [numbers([hinge[i] for hinge in marks.hinges]) for i in range(2)]
        self.column = numbers(column)


class _Moved:
    """The moved bodies, and what is predicted of them."""

    def __init__(self, K: int, J: int, marks: Marks, device: wp.Device) -> None:
        self.rotvec = Buffer("rotvec_out", (K, J), wp.vec3, device)
        self.betas = Buffer("betas_out", (K, NUM_BETAS), wp.float32, device)
        self.transl = Buffer("transl", (K,), wp.vec3, device)
        self.joints = Buffer("joints", (K, J), wp.vec3, device)
        self.T_cam_rest = Buffer("T_cam_rest", (K, J), mat34, device)
        self.predicted = Buffer("predicted", (K, len(marks.joints)), wp.vec2, device)
        self.angle = Buffer("angle", (K, len(marks.hinges)), wp.float32, device)

    @property
    def of_body(self) -> tuple[Buffer, ...]:
        """In the order of `MovedBodies`."""
        return (self.rotvec, self.betas, self.transl, self.joints, self.T_cam_rest)


class StepPlan:
    """Moves K bodies of one skeleton; every buffer is allocated once.

    Usage: `load` the bodies, then `move` them from there as often as wanted; `jacobian` and
    `bodies` speak of the bodies after the last move.
    """

    def __init__(
        self, skeleton: Skeleton, num_hypotheses: int, marks: Marks, device: str = "cpu"
    ) -> None:
        """Compile or load the kernels."""
        opened = open_device(device)
        K, J = num_hypotheses, len(skeleton.parents)
        D, rows = 3 * J + NUM_BETAS + 3, 2 * len(marks.joints) + len(marks.hinges)
        self.columns = columns_of(moving_bones(skeleton.parents, marks.joints), J)
        """Which of the D coordinates the columns of the Jacobian are."""
        self.rotvec = Buffer("rotvec", (K, J), wp.vec3, opened)
        self.betas = Buffer("betas", (K, NUM_BETAS), wp.float32, opened)
        self.pelvis = Buffer("pelvis", (K,), wp.vec3, opened)
        self.step = Buffer("step", (K, D), wp.float32, opened)
        self._chosen = Buffer("chosen", (K,), wp.int32, opened)
        self._steps_from_first = Buffer("steps", (K, D), wp.float32, opened)
        self._moved = _Moved(K, J, marks, opened)
        self._jacobian = Buffer("J", (K, rows, len(self.columns)), wp.float32, opened)
        start = [b.array for b in (self.rotvec, self.betas, self.pelvis)]
        to = [self._steps_from_first.array]
        self._compare = record(steps_from_first_kernel, J, start, to, opened, block_dim=32)
        constants = _Constants(skeleton, marks, opened)
        self._move = self._movement(constants, start, opened)
        self._differentiate, self._differentiate_first = self._differentiations(constants, opened)

    def _movement(
        self, constants: _Constants, start: list[wp.array], device: wp.Device
    ) -> wp.Launch:
        c, moved = constants, self._moved
        fixed = [c.template, c.shapedirs, c.parents, c.marked, *c.hinges]
        inputs = [*fixed, *start, self.step.array, self._chosen.array]
        outputs = [b.array for b in (*moved.of_body, moved.predicted, moved.angle)]
        return record(move_kernel, len(start[0]), inputs, outputs, device, block_dim=32)

    def _differentiations(
        self, constants: _Constants, device: wp.Device
    ) -> tuple[wp.Launch, wp.Launch]:
        """Return those of all bodies, and of body 0 alone."""
        c, moved = constants, self._moved
        K, J = moved.joints.array.shape
        after = [b.array for b in (self.step, moved.rotvec, moved.joints, moved.T_cam_rest)]
        inputs = [c.shapedirs, c.parents, c.marked, *c.hinges, c.column, *after]
        turn = wp.zeros((K, J), dtype=wp.mat33, device=device)
        by_shape = wp.zeros((K, J, NUM_BETAS), dtype=wp.vec3, device=device)
        outputs = [turn, by_shape, self._jacobian.array]
        every, first = (
            record(jacobian_kernel, count, inputs, outputs, device, block_dim=32)
            for count in (K, 1)
        )
        return every, first

    def load(
        self,
        rotvec: Float[np.ndarray, "K J 3"],
        betas: Float[np.ndarray, "K 10"],
        pelvis: Float[np.ndarray, "K 3"],
    ) -> None:
        """Bring the bodies in from which steps are taken."""
        self.rotvec.write(rotvec)
        self.betas.write(betas)
        self.pelvis.write(pelvis)

    def load_first(self) -> None:
        """Let all steps be taken from body 0 of those that were loaded."""
        for buffer in (self.rotvec, self.betas, self.pelvis):
            with buffer.writing() as to:
                to[1:] = to[0]

    def steps_from_first(self) -> Float[np.ndarray, "K D"]:
        """Return the steps that take body 0 of those that were loaded to each."""
        self._compare.launch()
        return self._steps_from_first.read()

    def move(
        self, step: Float[np.ndarray, "K D"], chosen: Bool[np.ndarray, "K"] | None = None
    ) -> tuple[Float[np.ndarray, "K m 2"], Float[np.ndarray, "K h"]]:
        """Move the loaded bodies; return the projections of joints, and the hinges' angles.

        Args:
            step: of each body.
            chosen: those that move; the step of the others is that of the last call. All when None.
        """
        self.step.write(step)
        with self._chosen.writing() as to:
            to[:] = 1 if chosen is None else chosen
        self._move.launch()
        return self._moved.predicted.read(), self._moved.angle.read()

    def jacobian(self, first_only: bool = False) -> Float[np.ndarray, "#K r C"]:
        """Differentiate what `move` returned by the step: rows x, y of each joint, then angles.

        The result is the plan's own memory: the next call overwrites it.
        """
        if first_only:
            self._differentiate_first.launch()
            return self._jacobian.view()[:1]
        self._differentiate.launch()
        return self._jacobian.view()

    def first_rotations(self) -> Float[np.ndarray, "J 3 3"]:
        """Return the rotations from body 0's bones to the camera."""
        return self._moved.T_cam_rest.view()[0, :, :, :3].copy()

    def bodies(self) -> MovedBodies:
        """Return the moved bodies."""
        return MovedBodies(*(buffer.read() for buffer in self._moved.of_body))


def moving_bones(parents: Sequence[int], joints: Sequence[int]) -> tuple[int, ...]:
    """List the bones whose turns move any of the joints."""
    bones: set[int] = set()
    for joint in joints:
        above = parents[joint]
        while above >= 0:
            bones.add(above)
            above = parents[above]
    return tuple(sorted(bones))


def columns_of(bones: Sequence[int], num_joints: int) -> np.ndarray:
    """Number the coordinates of these bones' turns, of shape and of the pelvis."""
    turns = [3 * bone + i for bone in bones for i in range(3)]
    return np.array([*turns, *range(3 * num_joints, 3 * num_joints + NUM_BETAS + 3)])
