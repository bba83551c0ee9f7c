"""What one browser displays: the nodes of its own scene, which nobody else has.

A mesh takes the browser a moment to decode, during which it would not be there. So there are two
nodes for the bodies: `upload` gives the new ones to the hidden node, and once the browser has them
`reveal` exchanges the two, together with everything else that belongs to the frame.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from engines.rotations import matrix_to_quat_wxyz
from realtime.view.colors import FAINT, MUTED, OUTLINE, Bgr
from realtime.view.scene import ViewConfig
from realtime.view.web.frame import Surfaces, WebFrame

if TYPE_CHECKING:
    import viser

LAYERS: tuple[str, ...] = (
    "bodies",
    "alternatives",
    "uncertain joints",
    "trail",
    "labels",
    "camera image",
    "floor",
)
Rgb = tuple[int, int, int]
_ELLIPSOID_BLOCK = 16
"""The number of ellipsoids is rounded up to a multiple: a new number needs a new node."""


class Stage:
    """The nodes of one browser."""

    def __init__(self, client: "viser.ClientHandle", config: ViewConfig) -> None:
        self._client = client
        self._scene = client.scene
        self._config = config
        self.shown = dict.fromkeys(LAYERS, True)
        """Which layers are displayed."""
        self.from_camera = False
        """Whether the real camera's view is displayed: its image is the background then."""
        self._nodes: dict[str, Any] = {}
        self._sphere = _sphere()
        self._front = 0
        self._floor()

    def upload(self, frame: WebFrame) -> None:
        """Send the bodies, which stay hidden."""
        if not frame.bodies:
            return
        name = self._bodies(1 - self._front)
        if name in self._nodes:
            self._nodes[name].glb_data = frame.bodies
        else:
            self._nodes[name] = self._scene.add_glb(
                name, frame.bodies, cast_shadow=False, receive_shadow=False, visible=False
            )

    def reveal(self, frame: WebFrame) -> None:
        """Display the frame, whose bodies the browser has."""
        with self._client.atomic():
            self._front = 1 - self._front
            self._show(self._bodies(self._front), "bodies", bool(frame.bodies))
            self._show(self._bodies(1 - self._front), "bodies", False)
            self._triangles("/shadows", "bodies", frame.shadows, (0, 0, 0), 0.35)
            self._triangles("/alternatives", "alternatives", frame.ghosts, _rgb(OUTLINE), 0.12)
            self._lines("/trails", "trail", frame.trails, frame.trail_colors, 4.0)
            self._ellipsoids(frame)
            self._labels(frame)
            self._camera(frame)
            self._show("/floor", "floor")
        self._client.flush()

    def _bodies(self, slot: int) -> str:
        return f"/bodies/{slot}"

    def _show(self, name: str, layer: str, visible: bool = True) -> None:
        if name in self._nodes:
            self._nodes[name].visible = visible and self.shown[layer]

    def _floor(self) -> None:
        self._nodes["/floor"] = self._scene.add_grid(
            "/floor",
            cell_size=0.25,
            cell_color=(44, 48, 54),
            section_size=1.0,
            section_color=_rgb(FAINT),
            infinite_grid=True,
            fade_distance=14.0,
            fade_from="origin",
            shadow_opacity=0.0,
        )

    def _triangles(
        self, name: str, layer: str, surfaces: Surfaces, color: Rgb, opacity: float
    ) -> None:
        if len(surfaces.faces) and name in self._nodes:
            self._nodes[name].vertices = surfaces.vertices.astype(np.float32)
            self._nodes[name].faces = surfaces.faces.astype(np.uint32)
        elif len(surfaces.faces):
            lift = 0.004 if layer == "bodies" else 0.0  # a shadow on the floor, not in it
            self._nodes[name] = self._scene.add_mesh_simple(
                name,
                surfaces.vertices,
                surfaces.faces,
                color=color,
                opacity=opacity,
                cast_shadow=False,
                receive_shadow=False,
                position=(0.0, 0.0, lift),
            )
        self._show(name, layer, len(surfaces.faces) > 0)

    def _lines(
        self, name: str, layer: str, points: np.ndarray, colors: np.ndarray, thickness: float
    ) -> None:
        if len(points) and name in self._nodes:
            self._nodes[name].points = points.astype(np.float32)
            self._nodes[name].colors = colors
        elif len(points):
            self._nodes[name] = self._scene.add_line_segments(
                name, points, colors, thickness=thickness, thickness_units="screen"
            )
        self._show(name, layer, len(points) > 0)

    def _ellipsoids(self, frame: WebFrame) -> None:
        name, drawn = "/uncertain_joints", frame.ellipsoids
        count = -(-len(drawn.centers) // _ELLIPSOID_BLOCK) * _ELLIPSOID_BLOCK
        if not count:
            self._show(name, "uncertain joints", False)
            return
        missing = ((0, count - len(drawn.centers)), (0, 0))
        node = self._nodes.get(name)
        wxyz = np.pad(drawn.wxyz, missing, constant_values=0.5).astype(np.float32)
        centers = np.pad(drawn.centers, missing).astype(np.float32)
        # The ones that are missing are too small to be seen.
        half_axes = np.pad(drawn.half_axes, missing, constant_values=1e-6).astype(np.float32)
        colors = np.pad(drawn.colors, missing)
        if node is not None and len(node.batched_positions) == count:
            node.batched_wxyzs = wxyz
            node.batched_positions = centers
            node.batched_scales = half_axes
            node.batched_colors = colors
        else:
            self._nodes[name] = self._scene.add_batched_meshes_simple(
                name,
                *self._sphere,
                wxyz,
                centers,
                batched_scales=half_axes,
                batched_colors=colors,
                opacity=0.28,
                lod="off",
                cast_shadow=False,
            )
        self._show(name, "uncertain joints")

    def _labels(self, frame: WebFrame) -> None:
        for i, label in enumerate(frame.labels):
            name = f"/labels/{i}"
            if name not in self._nodes:
                self._nodes[name] = self._scene.add_label(
                    name, label.text, anchor="bottom-center", font_screen_scale=1.3
                )
            self._nodes[name].text = label.text
            self._nodes[name].position = label.position
            self._show(name, "labels")
        names = [n for n in self._nodes if n.startswith("/labels/")]
        for name in names[len(frame.labels) :]:
            self._show(name, "labels", False)

    def _camera(self, frame: WebFrame) -> None:
        """Display the camera as a frustum with its live image, or the image behind everybody."""
        apex, corners = frame.frustum[0], frame.frustum[1:]
        around = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        edges = np.stack([np.repeat(apex[None], 4, axis=0), corners], axis=1)
        lines = np.concatenate([around, edges])
        color = np.full((len(lines), 2, 3), _rgb(MUTED), np.uint8)
        self._lines("/camera/frustum", "camera image", lines, color, 1.5)
        reach = frame.behind if self.from_camera else 1.0
        plane = apex + reach * (corners - apex)
        self._image("/camera/image", frame, plane)
        self._show("/camera/frustum", "camera image", not self.from_camera)
        self._show("/camera/image", "camera image")

    def _image(self, name: str, frame: WebFrame, corners: Float[np.ndarray, "4 3"]) -> None:
        width = float(np.linalg.norm(corners[1] - corners[0]))
        height = float(np.linalg.norm(corners[3] - corners[0]))
        if name not in self._nodes:
            self._nodes[name] = self._scene.add_image(
                name, frame.image, width, height, format="jpeg", jpeg_quality=80, cast_shadow=False
            )
        node = self._nodes[name]
        node.image = frame.image
        node.render_width, node.render_height = width, height
        node.position = corners.mean(axis=0)
        node.wxyz = matrix_to_quat_wxyz(frame.T_world_cam[:3, :3])


def _rgb(bgr: Bgr) -> Rgb:
    return bgr[2], bgr[1], bgr[0]


def _sphere() -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and faces of a unit sphere."""
    import trimesh  # viser requires it

    sphere = trimesh.creation.icosphere(subdivisions=2)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)
