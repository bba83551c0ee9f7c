"""The view in browsers, through viser: a web server on this machine and nowhere else.

    viewer = WebViewer(body, port=8080)
    ... viewer.show(frame) from the pipeline's thread, any number of browsers at viewer.url ...
    viewer.close()

`show` never waits. One thread makes the newest frame ready while somebody watches, and one thread
for each browser sends it the newest one as soon as the browser has displayed the one before: a slow
browser misses frames, which are counted, and neither the pipeline nor another browser waits for it.
"""

import contextlib
import functools
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engines.body import BodyModel
from engines.errors import PenumbraError
from realtime.view.build import SceneBuilder
from realtime.view.controls import Controls, NoControls
from realtime.view.scene import ViewConfig, ViewFrame
from realtime.view.web.frame import FrameMaker, WebFrame
from realtime.view.web.watcher import Watcher

if TYPE_CHECKING:
    import viser

HOST = "127.0.0.1"
_OWN_PAGES = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
"""Origins whose scripts may read what is displayed.

Without this any page in the user's browser could connect to the server and see the camera's images.
"""


class WebViewer:
    """A server of the scene; `show` and `close` may be called from any thread."""

    def __init__(
        self,
        body: BodyModel,
        port: int,
        controls: Controls | None = None,
        config: ViewConfig | None = None,
    ) -> None:
        """Start the server.

        Args:
            body: The body model of the surfaces.
            port: Of the server; 0 takes a free one.
            controls: Of the run; browsers only watch when None.
            config: Of the view.

        Raises:
            PenumbraError: viser is not installed, or the port is taken.
        """
        self._config = config or ViewConfig()
        self._controls = controls or NoControls()
        self._build = SceneBuilder(body, self._config)
        self._make = FrameMaker(body.decimated.faces)
        self._changed = threading.Condition()
        self._offered: tuple[int, ViewFrame] | None = None
        self._ready: WebFrame | None = None
        self._watchers: dict[int, Watcher] = {}
        self._gone = 0
        self._count = 0
        self._closing = False
        self._server = _start(port)
        self.url = f"http://{HOST}:{self._server.get_port()}"
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._part)
        self._thread = threading.Thread(target=self._work, name="web frames", daemon=True)
        self._thread.start()

    @property
    def skipped(self) -> int:
        """Frames that browsers did not display because a newer one was there, in total."""
        with self._changed:
            return self._gone + sum(watcher.skipped for watcher in self._watchers.values())

    def show(self, frame: ViewFrame) -> None:
        """Offer a frame. Never waits."""
        with self._changed:
            self._offered = (self._count, frame)
            self._count += 1
            self._changed.notify_all()

    def close(self) -> None:
        """End the server; calling it again does nothing."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
            watchers = list(self._watchers.values())
        for watcher in watchers:
            watcher.close()
        self._server.stop()
        self._thread.join()

    def __enter__(self) -> "WebViewer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _work(self) -> None:
        while (offered := self._next()) is not None:
            number, frame = offered
            ready = self._make(number, self._build(frame))
            with self._changed:
                self._ready = ready
                watchers = list(self._watchers.values())
            for watcher in watchers:
                watcher.offer(ready)

    def _next(self) -> tuple[int, ViewFrame] | None:
        """Wait until somebody watches and there is a new frame; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._wanted())
            return None if self._closing else self._offered

    def _wanted(self) -> bool:
        if self._offered is None or not self._watchers:
            return False
        return self._ready is None or self._ready.number < self._offered[0]

    def _welcome(self, client: "viser.ClientHandle") -> None:
        watcher = Watcher(client, self._config, self._controls)
        with self._changed:
            self._watchers[client.client_id] = watcher
            ready = self._ready
            self._changed.notify_all()
        if ready is not None:
            watcher.offer(ready)

    def _part(self, client: "viser.ClientHandle") -> None:
        with self._changed:
            watcher = self._watchers.pop(client.client_id, None)
            if watcher is not None:
                self._gone += watcher.skipped
        if watcher is not None:
            watcher.close()


def _start(port: int) -> "viser.ViserServer":
    try:
        import rich
        import viser
    except ImportError as error:
        raise PenumbraError(
            f"viewer: web needs the package {error.name}; pip install -e '.[web]'."
        ) from None

    class Server(viser.ViserServer):
        """A server that never leaves this machine, whatever a browser asks for."""

        def request_share_url(self, verbose: bool = True) -> None:
            """Open no tunnel."""
            return None

    rich.get_console().quiet = True  # viser announces itself; what is printed is the caller's
    logging.getLogger("websockets").setLevel(logging.WARNING)
    # A browser that has just left: nothing is lost that anybody would see.
    warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")
    with _own_pages_only():
        server = Server(host=HOST, port=port, label="Penumbra", verbose=False)
    if port not in (0, server.get_port()):  # viser takes the next free one
        server.stop()
        raise PenumbraError(f"web_port: {port} is taken; choose another one, or 0 for a free one.")
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
    server.scene.configure_default_lights(cast_shadow=False)
    return server


@contextlib.contextmanager
def _own_pages_only() -> Iterator[None]:
    """Let servers that are started here refuse the scripts of foreign pages.

    viser has no argument for it; websockets, on which it is built, has.
    """
    from websockets.asyncio import server

    serve = server.serve
    # None: a program that is no browser says no origin, and could say any.
    server.serve = functools.partial(serve, origins=[_OWN_PAGES, None])  # pyright: ignore
    try:
        yield
    finally:
        server.serve = serve
