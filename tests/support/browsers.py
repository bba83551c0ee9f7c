"""Watchers of the page: a program that speaks viser's protocol, and a real browser."""

import base64
import contextlib
import shutil
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import viser
import zstandard
from jaxtyping import UInt8
from viser import _messages as messages
from websockets.sync.client import connect

PROTOCOL = f"viser-v{viser.__version__}"
SLOWLY_MS = 240_000
"""How long a browser that renders on a busy CPU may take for a step."""
CANVAS = """() => {
  const canvases = [...document.querySelectorAll("canvas")];
  const largest = canvases.reduce((a, b) => (a.width * a.height < b.width * b.height ? b : a));
  return largest.toDataURL("image/png");
}"""
"""The largest canvas is the scene's."""


class FakeBrowser:
    """Does what viser's page does for the server: says where it looks from, and answers."""

    def __init__(self, url: str, origin: str | None = None) -> None:
        address = url.replace("http", "ws")
        self._socket = connect(
            address, subprotocols=[PROTOCOL], origin=origin, max_size=None, compression=None
        )  # pyright: ignore[reportArgumentType]
        self.received: Counter[str] = Counter()
        """How many messages of each type."""
        self.labels: list[str] = []
        """All texts of labels, in order."""
        pose = {"wxyz": (1, 0, 0, 0), "position": (0.0, -3.0, 1.0), "look_at": (0.0, 0.0, 1.0)}
        lens = {"fov": 0.8, "near": 0.01, "far": 100.0, "image_height": 480, "image_width": 640}
        self._send(messages.ViewerCameraMessage(**pose, **lens, up_direction=(0.0, 0.0, 1.0)))

    def watch(
        self, seconds: float, pause_s: float = 0.0, until: Callable[[], object] = lambda: False
    ) -> None:
        """Answer for a while, each time after a pause, or until something has come."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not until():
            with contextlib.suppress(TimeoutError):
                self._receive(self._socket.recv(timeout=left), pause_s)

    def close(self) -> None:
        self._socket.close()

    def _receive(self, data: Any, pause_s: float) -> None:
        length, compressed = struct.unpack("<QQ", data[:16])
        packed = zstandard.decompress(data[16 : 16 + compressed], max_output_size=length)
        for message in msgspec.msgpack.decode(packed)["messages"]:
            self.received[message["type"]] += 1
            if message["type"] == "LabelMessage":
                self.labels.append(message["props"]["text"])
            if message["type"] == "LocalStorageGetItemRequestMessage":
                time.sleep(pause_s)
                self._send(
                    messages.LocalStorageGetItemResponseMessage(
                        value=None, error=None, request_uuid=message["request_uuid"]
                    )
                )

    def _send(self, message: messages.Message) -> None:
        self._socket.send(msgspec.msgpack.encode(message.as_serializable_dict()))


@contextlib.contextmanager
def chromium(width: int, height: int) -> Iterator[Any]:
    """A page of a headless Chromium that renders WebGL on the CPU; skips where there is none."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed (apt install chromium)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(SLOWLY_MS)
        yield page
        browser.close()


def canvas_of(page: Any) -> UInt8[np.ndarray, "h w 3"]:
    """Return what the page's canvas displays, RGB, without the controls above it."""
    _, _, png = page.evaluate(CANVAS).partition(",")
    if not png:  # the canvas has no size yet
        return np.zeros((1, 1, 3), np.uint8)
    bgr = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
