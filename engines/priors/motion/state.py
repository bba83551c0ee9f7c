"""States of motion and steps between bodies, with their derivatives, for NumPy.

A state is made of two bodies a frame apart, a step leads from one to the next; `layout.py` lists
their parts. Derivatives are by the 75 coordinates of a frame (`engines.fitting.sequences`): turns
e_j on the right, R_j <- R_j exp(e_j), and the pelvis. With exp(w) = A^T B, w moves by J_r(w)^-1 e
for a turn of B and by -J_r(-w)^-1 e for one of A.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.coordinates import ANCESTORS, TURNS
from engines.fitting.sequences.sequence import FRAME_DIM
from engines.priors.motion.layout import BODY, FPS, NUM_STATE, STEP, TURNING, part
from engines.rotations import exp_so3, inverse_right_jacobian, log_so3, skew
from engines.types import PARENTS

_TURNED = (0, *TURNING)
"""The joints whose turns a step lists."""


@dataclass(frozen=True)
class PelvisFrame:
    """Bodies in the axes of their pelvis."""

    joints: Float[np.ndarray, "K 22 3"]
    """Relative to the pelvis, metres."""
    turned: Float[np.ndarray, "K 22 3 3"]
    """From each bone's axes to the pelvis'."""

    @staticmethod
    def of(rest: Float[np.ndarray, "22 3"], R: Float[np.ndarray, "K 24 3 3"]) -> "PelvisFrame":
        """Run forward kinematics from the pelvis."""
        joints = np.zeros((len(R), BODY, 3), R.dtype)
        turned = np.empty((len(R), BODY, 3, 3), R.dtype)
        turned[:, 0] = np.eye(3)
        for j in range(1, BODY):
            parent = PARENTS[j]
            joints[:, j] = joints[:, parent] + turned[:, parent] @ (rest[j] - rest[parent])
            turned[:, j] = turned[:, parent] @ R[:, j]
        return PelvisFrame(joints, turned)

    def jacobian(self) -> Float[np.ndarray, "K 21 3 75"]:
        """Differentiate the joints but the pelvis; the root's turn does not move them."""
        J = np.zeros((len(self.joints), BODY - 1, 3, FRAME_DIM), self.joints.dtype)
        for j in range(1, BODY):
            for bone in ANCESTORS[j]:
                if bone:
                    lever = self.joints[:, j] - self.joints[:, bone]
                    J[:, j - 1, :, 3 * bone : 3 * bone + 3] = np.cross(
                        self.turned[:, bone], lever[:, :, None], axis=1
                    )
        return J


@dataclass(frozen=True)
class Pairs:
    """K pairs of bodies a frame apart, z up, the floor at z = 0, metres."""

    R_before: Float[np.ndarray, "K 24 3 3"]
    R: Float[np.ndarray, "K 24 3 3"]
    pelvis_before: Float[np.ndarray, "K 3"]
    pelvis: Float[np.ndarray, "K 3"]

    def take(self, index: slice) -> "Pairs":
        """Select some of the pairs."""
        chosen = (self.R_before, self.R, self.pelvis_before, self.pelvis)
        return Pairs(*(array[index] for array in chosen))

    def step(self) -> Float[np.ndarray, "K 63"]:
        """Return the steps from the first bodies to the second."""
        moved = _apply(self.R_before[:, 0], self.pelvis - self.pelvis_before, transposed=True)
        return np.concatenate([moved, self._turns().reshape(len(moved), -1)], -1)

    def step_jacobian(self) -> tuple[Float[np.ndarray, "K 63 75"], Float[np.ndarray, "K 63 75"]]:
        """Differentiate the steps by the first bodies and by the second."""
        before, after = self._turns_jacobian()
        moved = _apply(self.R_before[:, 0], self.pelvis - self.pelvis_before, transposed=True)
        to_pelvis = self.R_before[:, 0].swapaxes(-1, -2)
        before[:, :3, :3] = skew(moved)
        before[:, :3, TURNS:] = -to_pelvis
        after[:, :3, TURNS:] = to_pelvis
        return before, after

    def state(self, rest: Float[np.ndarray, "22 3"]) -> Float[np.ndarray, "K F"]:
        """Encode the pairs."""
        frames = PelvisFrame.of(rest, self.R), PelvisFrame.of(rest, self.R_before)
        return self._state(*frames)

    def _state(self, now: PelvisFrame, before: PelvisFrame) -> Float[np.ndarray, "K F"]:
        count = len(self.R)
        up, moved, carried = self._carried(before)
        q = now.joints[:, 1:]
        turns = self._turns() * FPS
        state = np.empty((count, NUM_STATE), self.R.dtype)
        state[:, part("height")] = self.pelvis[:, 2:]
        state[:, part("up")] = up
        state[:, part("root_velocity")] = moved * FPS
        state[:, part("root_rate")] = turns[:, 0]
        columns = self.R[:, list(TURNING), :, :2].swapaxes(-1, -2)
        state[:, part("rotations")] = columns.reshape(count, -1)
        state[:, part("rates")] = turns[:, 1:].reshape(count, -1)
        state[:, part("joints")] = q.reshape(count, -1)
        velocity = (q + moved[:, None] - carried) * FPS
        state[:, part("joint_velocities")] = velocity.reshape(count, -1)
        state[:, part("joint_heights")] = self.pelvis[:, 2:] + (q @ up[:, :, None])[..., 0]
        return state

    def state_jacobian(
        self, rest: Float[np.ndarray, "22 3"]
    ) -> tuple[Float[np.ndarray, "K F"], Float[np.ndarray, "K F 75"], Float[np.ndarray, "K F 75"]]:
        """Encode the pairs; differentiate by the first bodies and by the second."""
        now, before = PelvisFrame.of(rest, self.R), PelvisFrame.of(rest, self.R_before)
        count, dtype = len(self.R), self.R.dtype
        by_before = np.zeros((count, NUM_STATE, FRAME_DIM), dtype)
        by_now = np.zeros((count, NUM_STATE, FRAME_DIM), dtype)
        up, moved, carried = self._carried(before)
        to_pelvis = self.R[:, 0].swapaxes(-1, -2)
        by_up = np.zeros((count, 3, FRAME_DIM), dtype)
        by_up[:, :, :3] = skew(up)
        by_moved = np.zeros((count, 3, FRAME_DIM), dtype)
        by_moved[:, :, :3] = skew(moved)
        by_moved[:, :, TURNS:] = to_pelvis
        by_now[:, part("height"), -1] = 1.0
        by_now[:, part("up")] = by_up
        by_now[:, part("root_velocity")] = by_moved * FPS
        by_before[:, part("root_velocity"), TURNS:] = -to_pelvis * FPS
        turns_before, turns_now = self._turns_jacobian()
        rates = slice(part("root_rate").start, part("root_rate").stop)
        by_before[:, rates], by_now[:, rates] = turns_before[:, 3:6] * FPS, turns_now[:, 3:6] * FPS
        by_before[:, part("rates")] = turns_before[:, 6:] * FPS
        by_now[:, part("rates")] = turns_now[:, 6:] * FPS
        first = part("rotations").start
        for i, j in enumerate(TURNING):
            for column in range(2):
                rows = slice(first + 6 * i + 3 * column, first + 6 * i + 3 * column + 3)
                axis = np.eye(3, dtype=dtype)[column]
                by_now[:, rows, 3 * j : 3 * j + 3] = -self.R[:, j] @ skew(axis)
        by_q, q = now.jacobian(), now.joints[:, 1:]
        by_now[:, part("joints")] = by_q.reshape(count, -1, FRAME_DIM)
        back = to_pelvis @ self.R_before[:, 0]
        by_velocity = by_q + by_moved[:, None]
        by_velocity[..., :3] -= skew(carried)
        velocity_rows = part("joint_velocities")
        by_now[:, velocity_rows] = by_velocity.reshape(count, -1, FRAME_DIM) * FPS
        past = -back[:, None] @ before.jacobian()
        past[..., :3] += back[:, None] @ skew(before.joints[:, 1:])
        past[..., TURNS:] -= to_pelvis[:, None]
        by_before[:, velocity_rows] = past.reshape(count, -1, FRAME_DIM) * FPS
        by_height = np.einsum("ki,kjid->kjd", up, by_q, optimize=False) + q @ by_up
        by_height[..., -1] += 1.0
        by_now[:, part("joint_heights")] = by_height
        return self._state(now, before), by_before, by_now

    def _carried(self, before: PelvisFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Up and the pelvis' displacement, and the joints before from where the pelvis was then;
        all in the pelvis' present axes.
        """
        back = self.R[:, 0].swapaxes(-1, -2) @ self.R_before[:, 0]
        moved = _apply(self.R[:, 0], self.pelvis - self.pelvis_before, transposed=True)
        return self.R[:, 0, 2], moved, before.joints[:, 1:] @ back.swapaxes(-1, -2)

    def _turns(self) -> Float[np.ndarray, "K 20 3"]:
        index = list(_TURNED)
        return log_so3(self.R_before[:, index].swapaxes(-1, -2) @ self.R[:, index])

    def _turns_jacobian(
        self,
    ) -> tuple[Float[np.ndarray, "K 63 75"], Float[np.ndarray, "K 63 75"]]:
        """As of `step_jacobian`, the rows of the displacement zero."""
        turns = self._turns()
        shape = (len(turns), STEP, FRAME_DIM)
        before, after = np.zeros(shape, turns.dtype), np.zeros(shape, turns.dtype)
        by_after, by_before = inverse_right_jacobian(turns), -inverse_right_jacobian(-turns)
        for i, j in enumerate(_TURNED):
            rows, columns = slice(3 + 3 * i, 6 + 3 * i), slice(3 * j, 3 * j + 3)
            before[:, rows, columns], after[:, rows, columns] = by_before[:, i], by_after[:, i]
        return before, after


def stepped(
    R: Float[np.ndarray, "K 24 3 3"],
    pelvis: Float[np.ndarray, "K 3"],
    step: Float[np.ndarray, "K 63"],
) -> tuple[Float[np.ndarray, "K 24 3 3"], Float[np.ndarray, "K 3"]]:
    """Make a step; joints that do not turn stay as they are."""
    out = R.copy()
    index = list(_TURNED)
    out[:, index] = R[:, index] @ exp_so3(step[:, 3:].reshape(len(step), -1, 3))
    return out, pelvis + _apply(R[:, 0], step[:, :3])


def _apply(R: np.ndarray, v: np.ndarray, transposed: bool = False) -> Float[np.ndarray, "K 3"]:
    return ((R.swapaxes(-1, -2) if transposed else R) @ v[..., None])[..., 0]
