"""What a real browser displays: the person is where the camera's projection puts them."""

import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from jaxtyping import Bool, UInt8

from engines.body import BodyModel
from realtime.view.controls import NoControls
from realtime.view.scene import ViewFrame
from realtime.view.web.viewer import WebViewer
from tests.support.browsers import SLOWLY_MS, canvas_of, chromium
from tests.support.views import CAMERA, standing

pytestmark = pytest.mark.slow  # a browser that renders on the CPU

SIZE = (480, 360)
"""The shape of the camera's image, so that the camera's view fills the page."""


def certain(body: BodyModel) -> ViewFrame:
    """A person whose hypotheses are all the best estimate."""
    frame = standing(body)
    person = frame.estimate.people[0]
    count = len(person.hypotheses.weights)
    rotvec = np.zeros((count, 24, 3))
    rotvec[:, 0, 0] = np.pi
    transl = np.tile([0.0, 0.0, 3.0], (count, 1))
    hypotheses = replace(
        person.hypotheses, rotvec=rotvec, betas=np.zeros((count, 10)), transl=transl
    )
    people = (replace(person, hypotheses=hypotheses),)
    return replace(frame, estimate=replace(frame.estimate, people=people, world=None))


def coloured(page: Any) -> Bool[np.ndarray, "h w"]:
    """Where the page has colours: bodies have, the grey image, the floor and labels have none."""
    image: UInt8[np.ndarray, "h w 3"] = cv2.resize(canvas_of(page), SIZE)
    return np.ptp(image.astype(int), axis=2) > 30


def wait_for_body(page: Any, share: float) -> Bool[np.ndarray, "h w"]:
    """Wait until the body covers a share of the page."""
    end = time.monotonic() + SLOWLY_MS / 1000
    while (mask := coloured(page)).mean() < share and time.monotonic() < end:
        time.sleep(0.5)
    return mask


def silhouette(body: BodyModel, frame: ViewFrame) -> Bool[np.ndarray, "h w"]:
    """Where the camera's image has the body."""
    uv = CAMERA.project(frame.surfaces[0].vertices) * (SIZE[0] / CAMERA.size[0])
    mask = np.zeros(SIZE[::-1], np.uint8)
    for triangle in np.rint(uv[body.decimated.faces]).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1)
    return mask > 0


def test_the_person_is_where_the_camera_sees_them(body: BodyModel) -> None:
    frame = certain(body)
    expected = silhouette(body, frame)
    asked: list[str] = []
    with WebViewer(body, 0) as viewer, chromium(*SIZE) as page:
        page.on("request", lambda request: asked.append(request.url))
        viewer.show(frame)
        page.goto(viewer.url)
        page.wait_for_selector("canvas", state="attached")
        assert wait_for_body(page, 0.005).mean() >= 0.005, "the canvas is not empty"
        page.get_by_role("button", name="Camera", exact=True).dispatch_event("click")
        drawn = wait_for_body(page, 0.8 * float(expected.mean()))
        legend = page.get_by_text("cm or more").count()
    overlap = (drawn & expected).sum() / (drawn | expected).sum()
    assert overlap > 0.9, overlap
    joints = np.rint(
        CAMERA.project(frame.estimate.people[0].best.joints) * SIZE[0] / CAMERA.size[0]
    )
    assert all(drawn[int(v), int(u)] for u, v in joints[[0, 3, 4, 5, 12, 15, 18, 19]])
    assert legend == 1
    hosts = {url.split("/")[2] for url in asked if url.startswith(("http", "ws"))}
    assert hosts == {viewer.url.split("/")[2]}, "nothing comes from elsewhere"


class Remembered(NoControls):
    """A recording of ten seconds that remembers what was asked of it."""

    pausable = True
    seekable = True
    duration_s: float | None = 10.0

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    def pause(self, on: bool) -> None:
        self.asked.append(("pause", on))

    def seek(self, time_s: float) -> None:
        self.asked.append(("seek", time_s))

    def wait(self) -> tuple[str, float]:
        end = time.monotonic() + SLOWLY_MS / 1000
        while not self.asked and time.monotonic() < end:
            time.sleep(0.05)
        return self.asked.pop()


def test_a_recording_is_paused_and_searched(body: BodyModel) -> None:
    controls, frame = Remembered(), standing(body)
    estimate = frame.estimate
    later = replace(estimate, frame=replace(estimate.frame, media_time_s=4.0))
    with WebViewer(body, 0, controls) as viewer, chromium(640, 480) as page:
        viewer.show(replace(frame, estimate=later))
        page.goto(viewer.url)
        slider = page.get_by_role("slider")
        slider.wait_for(state="attached")
        page.wait_for_function("document.querySelector('[role=slider]').ariaValueNow == 4")
        assert not controls.asked, "a frame that arrives is no wish of the user"
        slider.press("ArrowRight")
        kind, time_s = controls.wait()
        assert kind == "seek" and time_s == pytest.approx(4.1)
        page.get_by_label("Pause").dispatch_event("click")
        assert controls.wait() == ("pause", True)
