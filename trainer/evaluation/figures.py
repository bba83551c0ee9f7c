"""Figures of hypotheses beside the ground truth, for those who follow a training."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from engines.types import PARENTS
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Method

_SIDE = 256
_PX_PER_M = 100.0
_TARGET = (255, 255, 255)
_CENTER = (80, 200, 80)
_SAMPLE = (200, 140, 60)


@torch.no_grad()
def hypotheses_figure(
    method: Method, batch: Batch, count: int = 20, seed: int = 0
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw one row for each image of the batch: as the camera sees it, and from the side. BGR.

    The ground truth is white (an occluded joint is a ring), the best estimate green, the other
    hypotheses blue.
    """
    device = method.priors.J_template.device
    on_device = batch.to(device)
    hypotheses = method.draw(on_device, count, StepRng(seed, 0, device=device))
    joints = method.priors.joints(on_device, hypotheses.bodies).cpu().numpy()
    visible = batch.visible.numpy() > 0.5
    labels = (batch.joints.numpy(), visible, batch.crop_from_view.numpy())
    return np.vstack(
        [figure_row(joints[i], *(label[i] for label in labels)) for i in range(batch.size)]
    )


def figure_row(
    bodies: Float[np.ndarray, "K 24 3"],
    target: Float[np.ndarray, "24 3"],
    visible: Bool[np.ndarray, "24"],
    crop_from_camera: Float[np.ndarray, "3 3"],
) -> UInt8[np.ndarray, "S W 3"]:
    """Draw one image's bodies as the camera sees them, and from the side; BGR.

    Args:
        bodies: joints of the hypotheses, metres; number 0 is the best estimate.
        target: true joints in the same frame.
        visible: which of them are visible.
        crop_from_camera: homography to px of the crop that is drawn.
    """
    every = [target, *bodies]
    front = [_to_crop(points, crop_from_camera) for points in every]
    side = [_from_side(points, target[0]) for points in every]
    return np.hstack([_draw(front, visible), _draw(side, visible)])


def _to_crop(
    points: Float[np.ndarray, "24 3"], H: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "24 2"]:
    homogeneous = points @ H.T
    return homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], 1e-3)


def _from_side(
    points: Float[np.ndarray, "24 3"], pelvis: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "24 2"]:
    """Px with depth to the right and down downwards; each body's own distance is left out."""
    relative = points - points[0]
    relative[:, 1] += points[0, 1] - pelvis[1]
    return _SIDE / 2 + _PX_PER_M * relative[:, [2, 1]]


def _draw(
    bodies: list[Float[np.ndarray, "24 2"]], visible: Bool[np.ndarray, "24"]
) -> UInt8[np.ndarray, "S S 3"]:
    """Draw bodies (px): the ground truth on top, below it the best estimate and the others."""
    image = np.full((_SIDE, _SIDE, 3), 40, np.uint8)
    target, center, *others = bodies
    for points in others:
        _draw_bones(image, points, _SAMPLE)
    _draw_bones(image, center, _CENTER)
    _draw_bones(image, target, _TARGET)
    for point, is_visible in zip(target, visible, strict=True):
        cv2.circle(image, _pixel(point), 3, _TARGET, -1 if is_visible else 1)
    return image


def _draw_bones(
    image: UInt8[np.ndarray, "S S 3"],
    points: Float[np.ndarray, "24 2"],
    colour: tuple[int, int, int],
) -> None:
    for child, parent in enumerate(PARENTS[1:], 1):
        cv2.line(image, _pixel(points[child]), _pixel(points[parent]), colour, 1, cv2.LINE_AA)


def _pixel(point: Float[np.ndarray, "2"]) -> tuple[int, int]:
    x, y = np.clip(point, -1000, 1000)
    return round(float(x)), round(float(y))
