"""Frames for the view, a small renderer, and a display of the test's own."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from engines.body import BodyModel
from engines.camera import Intrinsics, from_fov
from engines.types import NUM_JOINTS, Estimate, FrameInfo, PersonMesh
from realtime.view.renderer import Renderer
from realtime.view.scene import Status, ViewConfig, ViewFrame
from tests.support.example_estimate import make_estimate

SMALL = ViewConfig(width=640, height=360)
CAMERA = Intrinsics(600.0, 600.0, 320.0, 240.0, (640, 480))
STATUS = Status("openvino", 30.0, 40.0, 0)


@lru_cache(maxsize=1)
def default_body() -> BodyModel:
    return BodyModel.load()


def small_renderer() -> Renderer:
    return Renderer(default_body(), SMALL)


def noise_frame(number: int, time_s: float | None = None) -> ViewFrame:
    """An image that hardly compresses, without a person; a few of them fill FFmpeg's buffer."""
    image = np.random.default_rng(number).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    info = FrameInfo(number, 0, number / 30 if time_s is None else time_s)
    return ViewFrame(image, Estimate(info), (), STATUS, from_fov((320, 240)))


def standing(body: BodyModel) -> ViewFrame:
    """The body at rest, upright, three metres in front of a camera whose gravity is unknown."""
    rotvec = np.array([[np.pi, 0, 0]] + [[0, 0, 0]] * 23)
    posed = body.shaped(np.zeros(10)).posed(rotvec, np.array([0.0, 0, 3]))
    estimate = make_estimate()
    assert estimate.person is not None
    joints = posed.joints
    person = replace(
        estimate.person,
        best=replace(estimate.person.best, joints=joints),
        hypotheses=replace(
            estimate.person.hypotheses,
            rotvec=np.repeat(rotvec[None].astype(float), 5, axis=0),
            betas=np.zeros((5, 10)),
            transl=np.tile([0.0, 0, 3], (5, 1)),
            joints=np.repeat(joints[None], 5, axis=0),
        ),
        joint_cov=np.tile(np.eye(3) * 0.01**2, (NUM_JOINTS, 1, 1)),
        ray=joints[0] / np.linalg.norm(joints[0]),
        joint_visible=np.ones(NUM_JOINTS),
    )
    vertices = posed.vertices("decimated")
    image = np.full((480, 640, 3), 90, np.uint8)
    std = np.full(len(vertices), 0.01)
    return ViewFrame(
        image,
        replace(estimate, people=(person,), world=None),
        (PersonMesh(vertices, std),),
        STATUS,
        CAMERA,
    )


def two_people(body: BodyModel) -> ViewFrame:
    """The same with a second person, a metre to the right of the first."""
    frame = standing(body)
    person = frame.estimate.people[0]
    aside = np.array([1.0, 0, 0])
    best = replace(person.best, joints=person.best.joints + aside)
    other = replace(person, track_id=9, best=best)
    surface = frame.surfaces[0]
    return replace(
        frame,
        estimate=replace(frame.estimate, people=(person, other)),
        surfaces=(surface, replace(surface, vertices=surface.vertices + aside)),
    )


@contextlib.contextmanager
def virtual_display() -> Iterator[str]:
    """Start an X server without a screen and yield its name; skip the test where there is none."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (apt install xvfb)")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "+extension", "GLX"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as numbers:
        number = numbers.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start here")
    yield f":{number}"
    server.terminate()
    server.wait()
