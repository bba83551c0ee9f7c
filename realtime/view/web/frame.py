"""What a browser draws of one scene: arrays and bytes in the world frame, the same for everybody.

make = FrameMaker(faces)
frame = make(number, scene)
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.covariance import ELLIPSOID_90
from engines.rotations import matrix_to_quat_wxyz
from realtime.view.bodies import DIFFERS_M, solid_share
from realtime.view.colors import BACKGROUND, OUTLINE
from realtime.view.geometry import shadow
from realtime.view.scene import PersonScene, Scene
from realtime.view.web import glb

IMAGE_SIDE = 640
"""Longer side of the image that is sent to browsers, px."""
_SOLID = 0.98
"""From this opacity on, a face hides what is behind it."""
_LABEL_ABOVE_M = 0.28
"""Height of a person's label above the head joint, metres."""
_CAMERA_SHARE = 0.7
"""Share of the way to the camera that views reach, so that its image is seen beside the person."""
_FAINT = 0.22
"""Opacity of what is certainly not visible; it would vanish without it."""


@dataclass(frozen=True)
class Label:
    """Words at a point of the world."""

    text: str
    position: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Surfaces:
    """Triangles in the world, metres."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]


@dataclass(frozen=True)
class Ellipsoids:
    """The 90 % ellipsoids of uncertain joints."""

    centers: Float[np.ndarray, "E 3"]
    wxyz: Float[np.ndarray, "E 4"]
    half_axes: Float[np.ndarray, "E 3"]
    colors: UInt8[np.ndarray, "E 3"]


@dataclass(frozen=True)
class WebFrame:
    """One scene as browsers draw it; world frame, metres, RGB."""

    number: int
    """Counts the frames that were offered; the ones between are those a browser did not get."""
    bodies: bytes
    """All people's meshes as one .glb; empty where there is nobody."""
    shadows: Surfaces
    ghosts: Surfaces
    """Hypotheses where they differ from the best estimate."""
    ellipsoids: Ellipsoids
    trails: Float[np.ndarray, "L 2 3"]
    trail_colors: UInt8[np.ndarray, "L 2 3"]
    labels: tuple[Label, ...]
    image: UInt8[np.ndarray, "h w 3"]
    T_world_cam: Float[np.ndarray, "4 4"]
    frustum: Float[np.ndarray, "5 3"]
    """The camera and the corners of its image, see `Scene.frustum`."""
    behind: float
    """Ratio by which the frustum reaches when its image lies behind everybody."""
    middle: Float[np.ndarray, "3"]
    """What the views are centred on: the followed person's pelvis, or where one would stand."""
    extent: float
    """Radius around `middle` in which everything is that should be in view, metres."""
    time_s: float
    """In the recording; not used for a live source."""
    words: str
    """Who is there and how sure that is, as Markdown."""


class FrameMaker:
    """Makes frames of people with one mesh topology."""

    def __init__(self, faces: Int[np.ndarray, "F 3"]) -> None:
        self._faces = np.ascontiguousarray(faces)

    def __call__(self, number: int, scene: Scene) -> WebFrame:
        """Return what browsers draw of a scene."""
        people = scene.people
        trails, trail_colors = _trails(scene)
        middle, extent = _middle(scene)
        return WebFrame(
            number=number,
            bodies=self._bodies(scene),
            shadows=self._shadows(scene),
            ghosts=self._ghosts(scene),
            ellipsoids=_ellipsoids(scene),
            trails=trails,
            trail_colors=trail_colors,
            labels=tuple(label for person in people for label in _labels(person, scene)),
            image=_small(scene.frame.image),
            T_world_cam=scene.T_world_cam,
            frustum=scene.frustum,
            behind=_behind(scene),
            middle=middle,
            extent=extent,
            time_s=scene.frame.estimate.frame.media_time_s,
            words=_words(scene),
        )

    def _bodies(self, scene: Scene) -> bytes:
        people = [p for p in scene.people if len(p.vertices)]
        if not people:
            return b""
        count = len(people[0].vertices)
        opacity = np.concatenate([_opacity(p.vertex_visible) for p in people])
        faces = self._repeated(len(people), count)
        is_solid = opacity[faces].min(axis=1) >= _SOLID
        colors = _linear(np.concatenate([p.vertex_colors for p in people]))
        return glb.encode(
            scene.to_world(np.concatenate([p.vertices for p in people])),
            np.column_stack([colors, opacity]),
            faces[is_solid],
            faces[~is_solid],
        )

    def _shadows(self, scene: Scene) -> Surfaces:
        people = [p for p in scene.people if len(p.vertices)]
        if not people:
            return _NOTHING
        vertices = shadow(scene.to_world(np.concatenate([p.vertices for p in people])))
        return Surfaces(vertices, self._repeated(len(people), len(people[0].vertices)))

    def _ghosts(self, scene: Scene) -> Surfaces:
        vertices, faces = [np.zeros((0, 3))], [np.zeros((0, 3), self._faces.dtype)]
        first = 0
        for person in scene.people:
            for body in person.hypotheses:
                differs = np.linalg.norm(body - person.vertices, axis=1) > DIFFERS_M
                vertices.append(body)
                faces.append(self._faces[differs[self._faces].all(axis=1)] + first)
                first += len(body)
        return Surfaces(scene.to_world(np.concatenate(vertices)), np.concatenate(faces))

    def _repeated(self, people: int, count: int) -> Int[np.ndarray, "F 3"]:
        return np.concatenate([self._faces + i * count for i in range(people)])


_NOTHING = Surfaces(np.zeros((0, 3)), np.zeros((0, 3), np.int32))


def _opacity(visible: Float[np.ndarray, "V"]) -> Float[np.ndarray, "V"]:
    """Return the opacity of a surface."""
    return np.maximum(solid_share(visible), _FAINT)


def _linear(srgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert sRGB to linear light (IEC 61966-2-1), in which glTF takes colours."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _bytes(rgb: Float[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    return np.rint(255.0 * rgb).astype(np.uint8)


def _ellipsoids(scene: Scene) -> Ellipsoids:
    centers, covs, colors = [np.zeros((0, 3))], [np.zeros((0, 3, 3))], [np.zeros((0, 3))]
    for person in scene.people:
        chosen = person.ellipsoid_joints
        centers.append(person.joints[chosen])
        covs.append(person.joint_cov[chosen])
        colors.append(person.joint_colors[chosen])
    R = scene.T_world_cam[:3, :3]
    variances, axes = np.linalg.eigh(R @ np.concatenate(covs) @ R.T)
    axes = axes * np.sign(np.linalg.det(axes))[:, None, None]  # proper rotations
    return Ellipsoids(
        scene.to_world(np.concatenate(centers)),
        matrix_to_quat_wxyz(axes),
        np.sqrt(ELLIPSOID_90 * np.maximum(variances, 0.0)),
        _bytes(np.concatenate(colors)),
    )


def _trails(scene: Scene) -> tuple[Float[np.ndarray, "L 2 3"], UInt8[np.ndarray, "L 2 3"]]:
    """Return everybody's way over the floor and its colours, which fade into the background."""
    lines, colors = [np.zeros((0, 2, 3))], [np.zeros((0, 2, 3))]
    new, old = (np.array(c[::-1], float) / 255.0 for c in (OUTLINE, BACKGROUND))
    for person in scene.people:
        points = shadow(scene.to_world(person.trail))
        age = np.linspace(0.0, 1.0, len(points))[:, None]
        shades = old + age * (new - old)
        lines.append(np.stack([points[:-1], points[1:]], axis=1))
        colors.append(np.stack([shades[:-1], shades[1:]], axis=1))
    above = np.array([0.0, 0.0, 0.005])  # on the floor, not in it
    return np.concatenate(lines) + above, _bytes(np.concatenate(colors))


def _labels(person: PersonScene, scene: Scene) -> list[Label]:
    head = scene.to_world(person.joints[15]) + np.array([0.0, 0.0, _LABEL_ABOVE_M])
    return [Label(f"{name_of(person)}: ± {100 * _std(person):.0f} cm", head)]


def name_of(person: PersonScene) -> str:
    """Return what a person is called."""
    return f"person {person.track_id}"


def _std(person: PersonScene) -> float:
    """Return a person's standard deviation, root mean square over the limbs, metres."""
    return float(np.sqrt(np.mean([limb.std**2 for limb in person.limbs])))


def _words(scene: Scene) -> str:
    status = scene.frame.status
    lines = [
        f"**{_count(len(scene.people))}** · {status.fps:.0f} frames per second · "
        f"delay {status.latency_ms:.0f} ms"
    ]
    for person in scene.people:
        near = f"{person.distance:.1f} m away, ± {100 * person.distance_std:.0f} cm"
        guessed = [limb.words for limb in person.limbs if limb.guessed]
        lines.append(f"**{name_of(person)}** {near}" + "".join(f"  \n{words}" for words in guessed))
    if scene.upright == "assumed":
        lines.append("*camera assumed level*")
    return "\n\n".join(lines)


def _count(people: int) -> str:
    return {0: "nobody found", 1: "1 person"}.get(people, f"{people} people")


def _middle(scene: Scene) -> tuple[Float[np.ndarray, "3"], float]:
    """Return the middle of what is to be seen and its radius."""
    if not scene.people:
        return scene.to_world(np.array([0.0, 0.0, 3.0])) * (1.0, 1.0, 0.0), 2.5
    pelvises = scene.to_world(np.stack([p.joints[0] for p in scene.people]))
    middle = pelvises[0]
    away = float(np.linalg.norm(pelvises - middle, axis=1).max())
    camera_away = float(np.linalg.norm(scene.frustum[0] - middle))
    return middle, max(1.6, away + 1.0, min(_CAMERA_SHARE * camera_away, 4.0))


def _behind(scene: Scene) -> float:
    """Return how many times as far as the frustum's image something behind everybody is."""
    depth = float((scene.frustum[1] - scene.frustum[0]) @ scene.T_world_cam[:3, 2])
    far = max((float(p.joints[:, 2].max()) for p in scene.people), default=3.0)
    return (far + 0.6) / depth


def _small(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image in RGB, at most `IMAGE_SIDE` px long."""
    scale = min(1.0, IMAGE_SIDE / max(image.shape[:2]))
    if scale < 1.0:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[:, :, ::-1])
