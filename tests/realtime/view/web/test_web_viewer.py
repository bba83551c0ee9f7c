"""The server of the page: local, never waited for, closed in order."""

import contextlib
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from engines.body import BodyModel
from engines.errors import PenumbraError
from realtime.view.scene import ViewFrame
from realtime.view.web.viewer import HOST, WebViewer
from tests.support.browsers import FakeBrowser
from tests.support.views import noise_frame, standing


@pytest.fixture
def viewer(body: BodyModel) -> Iterator[WebViewer]:
    with WebViewer(body, 0) as viewer:
        yield viewer


@pytest.fixture(scope="module")
def someone(body: BodyModel) -> ViewFrame:
    return standing(body)


@contextlib.contextmanager
def watching(viewer: WebViewer, **options: str) -> Iterator[FakeBrowser]:
    browser = FakeBrowser(viewer.url, **options)
    try:
        yield browser
    finally:
        browser.close()


def port_of(viewer: WebViewer) -> int:
    return int(viewer.url.rsplit(":", 1)[1])


def test_the_page_is_whole_and_local(viewer: WebViewer) -> None:
    with urllib.request.urlopen(viewer.url, timeout=10) as answer:
        page = answer.read()
    assert b"<html" in page and viewer.url.startswith(f"http://{HOST}:")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f"{port_of(viewer):04X}"
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"], "127.0.0.1 and nothing else"


def test_scripts_of_foreign_pages_are_refused(viewer: WebViewer) -> None:
    for origin in ("http://evil.example", "https://127.0.0.1.evil.example", "null"):
        with pytest.raises(InvalidStatus):
            FakeBrowser(viewer.url, origin)
    for origin in (viewer.url, viewer.url.replace(HOST, "localhost")):
        with watching(viewer, origin=origin) as browser:
            browser.watch(60.0, until=lambda: browser.received["ReplayDoneMessage"])
        assert browser.received["ReplayDoneMessage"] == 1


def test_no_browser_can_open_a_tunnel(viewer: WebViewer) -> None:
    assert viewer._server.request_share_url() is None
    assert viewer._server._share_tunnel is None


def test_a_taken_port_is_named(body: BodyModel) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PenumbraError, match=rf"^web_port: {port} is taken; .*\.$"):
            WebViewer(body, port)


def test_a_missing_package_is_named(body: BodyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(PenumbraError, match=r"^viewer: web needs .* viser; pip .*\[web\]'\.$"):
        WebViewer(body, 0)


def test_nothing_is_made_while_nobody_watches(viewer: WebViewer, someone: ViewFrame) -> None:
    start_s = time.perf_counter()
    for frame in [noise_frame(0)] * 999 + [someone]:
        viewer.show(frame)
    assert time.perf_counter() - start_s < 2.0
    assert viewer._ready is None and viewer.skipped == 0
    with watching(viewer) as browser:  # who comes late gets the newest frame
        browser.watch(60.0, until=lambda: browser.labels)
    assert browser.labels == ["person 2: ± 1 cm"] and browser.received["GlbMessage"] == 1


FRAMES: dict[int, object] = {}


def standing_frame(body: BodyModel):
    return FRAMES.setdefault(id(body), standing(body))


def test_a_slow_browser_misses_frames_and_holds_nobody_up(
    viewer: WebViewer, someone: ViewFrame
) -> None:
    with watching(viewer) as quick, watching(viewer) as slow:
        threads = [
            threading.Thread(target=quick.watch, args=(6.0,)),
            threading.Thread(target=slow.watch, args=(6.0, 0.4)),
        ]
        for thread in threads:
            thread.start()
        longest = 0.0
        for _ in range(80):
            start_s = time.perf_counter()
            viewer.show(someone)
            longest = max(longest, time.perf_counter() - start_s)
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        shown = [b.received["LocalStorageGetItemRequestMessage"] / 2 for b in (quick, slow)]
        assert viewer.skipped > 40
    assert shown[0] > 1.5 * shown[1] >= 3, shown
    assert longest < 1.0, "a lock that is held for moments, on a busy machine"


def test_closing_ends_everything_with_browsers_open(body: BodyModel, someone: ViewFrame) -> None:
    viewer = WebViewer(body, 0)
    with watching(viewer) as browser:
        viewer.show(someone)
        with contextlib.suppress(Exception):
            browser.watch(60.0, until=lambda: browser.labels)
        start_s = time.perf_counter()
        viewer.close()
        viewer.close()
        assert time.perf_counter() - start_s < 10
    with pytest.raises(OSError):
        socket.create_connection((HOST, port_of(viewer)), timeout=1).close()
    names = [thread.name for thread in threading.enumerate()]
    assert "web frames" not in names
