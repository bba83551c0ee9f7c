"""The window: the scene, colours, legend and status line of a recording, and a 3D view to turn.


    if (reason := why_no_window()) is None:
        viewer = Viewer(faces)
        ... start the pipeline in a thread that calls viewer.show(frame), and viewer.close() at its
        end ...
        viewer.run()  # on the main thread, until the user closes the window
        ... tell the pipeline to stop ...

`show` never waits: the window draws the newest frame and skips the others. Open3D is imported by
`Viewer.run` only.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from engines.types import PARENTS
from realtime.view.geometry import ellipsoid_rings, unit_rings
from realtime.view.overlay import HYPOTHESIS, PAPER
from realtime.view.person_view import PersonView, build_scene
from realtime.view.renderer import (
    BACKGROUND,
    LEFT_SHARE,
    STATUS_BACKGROUND,
    STATUS_HEIGHT,
    distance_lines,
    draw_left,
    shade,
    status_line,
    vertex_normals,
)
from realtime.view.scene import ViewConfig, ViewFrame

_PROBE_TIMEOUT_S = 120.0
# Without a display or a driver Open3D ends the process instead of raising, so it is tried in
# another one first. `_exit` skips Open3D's own teardown, which is of no interest here.
_PROBE = """
import os
from open3d.visualization import gui
gui.Application.instance.initialize()
gui.Application.instance.create_window("probe", 64, 64)
os._exit(0)
"""
_PACKAGES = {
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libusb-1.0.so": "libusb-1.0-0",
    "libgomp.so": "libgomp1",
    "libX11.so": "libx11-6",
}
_TICK_S = 0.01
_TO_STAGE = np.diag([1.0, -1.0, -1.0])  # Open3D's controls take y as up


@lru_cache(maxsize=1)
def why_no_window() -> str | None:
    """Return why no window can be opened and what to do, or None when one can.

    It is tried once per process.
    """
    linux = sys.platform.startswith("linux")
    if linux and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        return (
            "window: there is no display (DISPLAY is not set); start from a desktop session, "
            "or run headless."
        )
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"window: Open3D did not open one within {_PROBE_TIMEOUT_S:.0f} s; run headless."
    return None if probe.returncode == 0 else explain_probe(probe.returncode, probe.stderr)


def explain_probe(returncode: int, stderr: str) -> str:
    """Turn the exit status and the stderr of the probe into a sentence."""
    missing = re.search(r"(lib[\w.+-]+\.so)[\w.]*: cannot open shared object", stderr)
    if missing:
        package = _PACKAGES.get(missing[1])
        cure = (
            f"apt install {package}"
            if package
            else f"install the system package that brings {missing[1]}"
        )
        return f"window: Open3D needs the system library {missing[1]}; {cure}, or run headless."
    if "No module named" in stderr:
        return "window: Open3D is not installed; pip install open3d==0.19.0, or run headless."
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit status {returncode}"
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return (
        f"window: Open3D cannot open one on display {display} ({last.rstrip('.')}); "
        "check the display and its OpenGL driver, or run headless."
    )


class Viewer:
    """One Open3D window.

    `show` and `close` may be called from any thread, `run` only from the main one.
    """

    def __init__(
        self,
        faces: Int[np.ndarray, "F 3"],
        config: ViewConfig | None = None,
        title: str = "Penumbra",
    ):
        self._faces = np.ascontiguousarray(faces, dtype=np.int32)
        self._config = config or ViewConfig()
        self._title = title
        self._lock = threading.Lock()
        self._newest: ViewFrame | None = None
        self._closing = threading.Event()
        self.closed = threading.Event()
        """Set when the window is gone and `run` returns."""
        self.skipped = 0
        """Frames that a newer one replaced before they were drawn."""

    def show(self, frame: ViewFrame) -> None:
        """Offer a frame. Never waits."""
        with self._lock:
            self.skipped += self._newest is not None
            self._newest = frame

    def close(self) -> None:
        """Ask the window to close; `run` returns soon after."""
        self._closing.set()

    def run(self) -> None:
        """Open the window and keep it alive until the user or `close` closes it.

        Call it only where `why_no_window` returns None.
        """
        from open3d.visualization import gui

        app = gui.Application.instance
        app.initialize()
        stage = _Stage(app, self._faces, self._config, self._title)
        # Escape and the window's X destroy the window at once, with everything that is drawn in it,
        # unless they are refused. So they only end the loop, and the stage is freed in order.
        stage.on_close(self._closing.set)
        try:
            while not self._closing.is_set() and app.run_one_tick():
                frame = self._take()
                if frame is not None:
                    stage.draw(frame)
                else:
                    # Not time.sleep alone: waiting on the event lets `close` end the pause.
                    self._closing.wait(_TICK_S)
        finally:
            self.closed.set()
            stage.close()

    def _take(self) -> ViewFrame | None:
        with self._lock:
            frame, self._newest = self._newest, None
            return frame


class _Stage:
    """Everything in the window that belongs to Open3D; it lives on the main thread.

    The person stays in the middle of the 3D view, so that the user's own view is kept from frame to
    frame.
    """

    def __init__(self, app: Any, faces: Int[np.ndarray, "F 3"], config: ViewConfig, title: str):
        import open3d as o3d
        from open3d.visualization import gui, rendering  # pyright: ignore[reportAttributeAccessIssue]

        self._o3d, self._gui, self._app = o3d, gui, app
        self._faces, self._config = faces, config
        self._aimed = False
        self._closing = False
        self._window = app.create_window(title, config.width, config.height)
        self._view = gui.SceneWidget()
        self._view.scene = rendering.Open3DScene(self._window.renderer)
        self._view.scene.set_background(_rgba(BACKGROUND))
        # Open3D's default tone curve would change the colours away from the legend's.
        grading = rendering.ColorGrading(
            rendering.ColorGrading.Quality.HIGH, rendering.ColorGrading.ToneMapping.LINEAR
        )
        self._view.scene.view.set_color_grading(grading)
        # An image widget without an image is a red field that says "Error".
        self._image = gui.ImageWidget(
            o3d.geometry.Image(np.full((4, 4, 3), BACKGROUND[::-1], np.uint8))
        )
        self._image.background_color = gui.Color(*_rgba(BACKGROUND))
        self._status, self._status_bar = _label(
            gui, "waiting for the first frame", STATUS_BACKGROUND
        )
        for widget in (self._image, self._view, self._status_bar):
            self._window.add_child(widget)
        self._window.set_on_layout(self._layout)
        self._materials = _materials(rendering)

    def draw(self, frame: ViewFrame) -> None:
        """Display one frame."""
        scene = build_scene(frame, self._config)
        left = np.ascontiguousarray(draw_left(frame, scene, self._config)[:, :, ::-1])
        self._image.update_image(self._o3d.geometry.Image(left))
        self._status.text = "   |   ".join([status_line(frame.status), *distance_lines(frame)])
        for name in self._materials:
            self._view.scene.remove_geometry(name)
        if scene is not None:
            for name, geometry in self._geometries(scene).items():
                self._view.scene.add_geometry(name, geometry, self._materials[name])
            self._aim_once(scene)
        self._window.post_redraw()

    def on_close(self, ask: Callable[[], None]) -> None:
        """Call `ask` when the user closes the window, which stays open until `close`."""

        def refuse() -> bool:
            ask()
            return self._closing  # our own `close` closes it

        self._window.set_on_close(refuse)

    def close(self) -> None:
        """Free the window and its GPU memory."""
        self._closing = True
        self._view.scene.clear_geometry()
        self._window.close()
        self._app.run_one_tick()

    def _geometries(self, scene: PersonView) -> dict[str, Any]:
        """Return one geometry of each kind, however many objects of it there are."""
        bones = np.stack([PARENTS[1:], np.arange(1, len(PARENTS))], axis=1)
        kinds = {
            "skeletons": self._lines(
                scene.skeletons,
                bones,
                np.tile(_rgba(HYPOTHESIS)[:3], (len(scene.skeletons), 1)),
                scene,
            )
        }
        if len(scene.vertices):
            R = scene.T_view_cam[:3, :3]
            colors = shade(scene.vertex_colors, vertex_normals(scene.vertices, self._faces) @ R.T)
            kinds["mesh"] = self._mesh(scene.vertices, self._faces, colors, scene)
        if len(scene.ellipsoid_joints):
            rings = np.stack(
                [
                    ellipsoid_rings(scene.joints[j], scene.joint_cov[j])
                    for j in scene.ellipsoid_joints
                ]
            )
            kinds["ellipsoids"] = self._lines(
                rings, unit_rings()[1], scene.joint_colors[scene.ellipsoid_joints], scene
            )
        return kinds

    def _mesh(
        self, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, scene: PersonView
    ) -> Any:
        o3d = self._o3d
        mesh = o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(_to_stage(vertices, scene)),
            o3d.utility.Vector3iVector(faces.astype(np.int32)),
        )
        mesh.vertex_colors = o3d.utility.Vector3dVector(_linear(colors))
        return mesh

    def _lines(
        self, figures: np.ndarray, pairs: np.ndarray, colors: np.ndarray, scene: PersonView
    ) -> Any:
        """Return a line set of N figures of P points that share the same L lines.

        Args:
            figures: (N, P, 3), camera frame.
            pairs: (L, 2), the two points of each line.
            colors: (N, 3), RGB of each figure.
            scene: The origin of the window's frame.
        """
        o3d = self._o3d
        count, size = figures.shape[:2]
        lines = (pairs + size * np.arange(count)[:, None, None]).reshape(-1, 2)
        drawn = o3d.geometry.LineSet(
            o3d.utility.Vector3dVector(_to_stage(figures.reshape(-1, 3), scene)),
            o3d.utility.Vector2iVector(lines.astype(np.int32)),
        )
        drawn.colors = o3d.utility.Vector3dVector(np.repeat(_linear(colors), len(pairs), axis=0))
        return drawn

    def _aim_once(self, scene: PersonView) -> None:
        """Start from the view of a recording; from then on the camera belongs to the user."""
        if self._aimed:
            return
        self._aimed = True
        R, t = scene.T_view_cam[:3, :3], scene.T_view_cam[:3, 3]
        eye = _to_stage(-R.T @ t, scene)
        fov_deg = float(np.rad2deg(2 * np.arctan(0.25)))  # `extent_m` at twice that distance
        half = self._config.extent_m / 2
        box = self._o3d.geometry.AxisAlignedBoundingBox(np.full(3, -half), np.full(3, half))
        self._view.setup_camera(fov_deg, box, np.zeros(3))
        self._view.look_at(np.zeros(3), eye, _TO_STAGE @ -R[1])

    def _layout(self, _context: Any) -> None:
        rect, gui = self._window.content_rect, self._gui
        bar = round(STATUS_HEIGHT * self._window.scaling)
        left, body = round(rect.width * LEFT_SHARE), rect.height - bar
        self._image.frame = gui.Rect(rect.x, rect.y, left, body)
        self._view.frame = gui.Rect(rect.x + left, rect.y, rect.width - left, body)
        self._status_bar.frame = gui.Rect(rect.x, rect.y + body, rect.width, bar)


def _label(gui: Any, text: str, behind: tuple[int, int, int]) -> tuple[Any, Any]:
    """Return a line of text and the padded box around it."""
    label = gui.Label(text)
    label.text_color, label.background_color = gui.Color(*_rgba(PAPER)), gui.Color(*_rgba(behind))
    box = gui.Vert(0, gui.Margins(20, 10, 20, 0))
    box.background_color = gui.Color(*_rgba(behind))
    box.add_child(label)
    return label, box


def _to_stage(points: Float[np.ndarray, "*n 3"], scene: PersonView) -> Float[np.ndarray, "*n 3"]:
    """Convert from the camera frame to the window's: person at the origin, y up, z backward."""
    return (points - scene.middle) @ _TO_STAGE


def _rgba(bgr: tuple[int, int, int]) -> list[float]:
    """Convert the renderer's BGR colour to Open3D's RGBA."""
    return [bgr[2] / 255.0, bgr[1] / 255.0, bgr[0] / 255.0, 1.0]


def _linear(srgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert sRGB to linear light (IEC 61966-2-1), in which Open3D takes colours of geometry."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _materials(rendering: Any) -> dict[str, Any]:
    """Return the material of each kind of geometry, under the geometry's name."""
    mesh, lines = rendering.MaterialRecord(), rendering.MaterialRecord()
    mesh.shader = "defaultUnlit"
    lines.shader, lines.line_width = "unlitLine", 1.0
    return {"mesh": mesh, "skeletons": lines, "ellipsoids": lines}
