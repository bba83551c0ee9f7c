"""Samples against truth as a picture, for people who watch a training."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from engines.types import PARENTS
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Method

_SIDE = 256
_TRUTH, _CENTER, _SAMPLE = (255, 255, 255), (80, 200, 80), (200, 140, 60)


@torch.no_grad()
def hypotheses_figure(
    method: Method, batch: Batch, count: int = 20, seed: int = 0
) -> UInt8[np.ndarray, "H W 3"]:
    """One row a picture of the batch: as the camera sees it, and from the side. BGR.

    Truth is white (a hidden joint is a ring), the best estimate green, the other hypotheses blue.
    """
    device = method.priors.J_template.device
    on_device = batch.to(device)
    drawn = method.draw(on_device, count, StepRng(seed, 0, device=device))
    joints = method.priors.joints(on_device, drawn.bodies).cpu()
    rows = []
    for i in range(batch.size):
        truth, bodies, H = (
            batch.joints[i].numpy(),
            joints[i].numpy(),
            batch.crop_from_view[i].numpy(),
        )
        pelvis = truth[0]
        front = [_crop(points, H) for points in (truth, *bodies)]
        side = [_side(points, pelvis) for points in (truth, *bodies)]
        rows.append(
            np.hstack([_figure(view, batch.visible[i].numpy() > 0.5) for view in (front, side)])
        )
    return np.vstack(rows)


def _crop(
    points: Float[np.ndarray, "24 3"], H: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "24 2"]:
    homogeneous = points @ H.T
    return homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], 1e-3)


def _side(
    points: Float[np.ndarray, "24 3"], pelvis: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "24 2"]:
    """Depth to the right, down is down; one metre is 100 px, each body's own distance left out."""
    relative = points - points[0]
    relative[:, 1] += points[0, 1] - pelvis[1]
    return _SIDE / 2 + 100.0 * relative[:, [2, 1]]


def _figure(views: list[np.ndarray], visible: np.ndarray) -> UInt8[np.ndarray, "S S 3"]:
    picture = np.full((_SIDE, _SIDE, 3), 40, np.uint8)
    truth, center, *samples = views
    for points in samples:
        _bones(picture, points, _SAMPLE)
    _bones(picture, center, _CENTER)
    _bones(picture, truth, _TRUTH)
    for point, seen in zip(truth, visible, strict=True):
        cv2.circle(picture, _px(point), 3, _TRUTH, -1 if seen else 1)
    return picture


def _bones(picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    for child, parent in enumerate(PARENTS[1:], 1):
        cv2.line(picture, _px(points[child]), _px(points[parent]), colour, 1, cv2.LINE_AA)


def _px(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(point, -1000, 1000)
    return round(float(x)), round(float(y))
