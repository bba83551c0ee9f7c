"""What a message says. Every field is declared here, and only here.

The encoder takes the values from an estimate, the decoder checks what came, the archive stores the
fields that have a name there, and the tables of `README.md` are this declaration in Markdown. A new
field is one entry here, and a higher minor number of `wire.VERSION`.

Needs the standard library and msgpack only: subscribers import it.
"""

from dataclasses import dataclass
from typing import Annotated

from realtime.stream.fields import Field, Stored, array
from realtime.stream.wire import Array


@dataclass(frozen=True)
class StreamCalibration:
    """The calibration of the uncertainties; taken from an object of the same class."""

    name: Annotated[str, Field("text", "name", "the model")]
    data: Annotated[str, Field("text", "data", "what it was fitted on")]
    levels: Annotated[
        tuple[tuple[float, float], ...],
        Field("rows", "levels", "nominal and measured coverage, such as 0.9, 0.91", shape="n 2"),
    ]
    measured_on: Annotated[
        str, Field("text", "measured_on", "the data, of other people, that `levels` are of")
    ]
    visible_levels: Annotated[
        tuple[tuple[float, float], ...],
        Field("rows", "visible_levels", "`levels` of joints that are truly visible", shape="n 2"),
    ]
    occluded_levels: Annotated[
        tuple[tuple[float, float], ...],
        Field("rows", "occluded_levels", "and of occluded ones; empty: not measured", shape="n 2"),
    ]
    radii: Annotated[
        tuple[tuple[float, float, float], ...],
        Field(
            "rows",
            "radii",
            "level, squared Mahalanobis radii of `joint_cov` that hold it: visible, occluded",
            shape="n 3",
        ),
    ]


@dataclass(frozen=True)
class HypothesesMessage:
    """K bodies of one person, camera frame; taken from `engines.types.Hypotheses`."""

    weights: Annotated[
        Array,
        array(
            "K", "", "weights", "sum to one",
            archive=Stored("weights", "<f4", "K", "hypotheses.weights"),
        ),
    ]  # fmt: skip
    joints: Annotated[
        Array,
        array(
            "K 24 3", "m", "joints", "joints",
            archive=Stored(
                "hypotheses", "<f4", "K 24 3", "hypotheses.joints", "joints of K bodies"
            ),
        ),
    ]  # fmt: skip
    body_pose: Annotated[Array, array("K 69", "rad", "body_pose", "smplx's parameter")]
    global_orient: Annotated[Array, array("K 3", "rad", "global_orient", "smplx's parameter")]
    betas: Annotated[Array, array("K 10", "", "betas", "smplx's parameter")]
    transl: Annotated[Array, array("K 3", "m", "transl", "smplx's parameter")]
    log_q: Annotated[
        Array, array("K", "nat", "log_q", "log density that the flow gave its sample, Haar measure")
    ]


@dataclass(frozen=True)
class PersonMessage:
    """One person, camera frame; taken from `engines.types.Person`."""

    track_id: Annotated[
        int,
        Field(
            "count", "track_id", "another number is another person, as far as can be told",
            stored=Stored("track_id", "<i4", "", "track_id"),
        ),
    ]  # fmt: skip
    score: Annotated[float, Field("number", "landmarks.score", "probability that it is a person")]
    joints: Annotated[Array, array("24 3", "m", "best.joints", "best estimate", archive="joints")]
    joint_cov: Annotated[
        Array,
        array(
            "24 6", "m²", "joint_cov_six",
            "covariance xx, xy, xz, yy, yz, zz about `joints`, without the common distance",
            archive=Stored(
                "joint_cov", "<f4", "24 3 3", "joint_cov",
                "covariance about `joints`, without the common distance",
            ),
        ),
    ]  # fmt: skip
    joint_std: Annotated[
        Array, array("24", "m", "joint_std", "standard deviation, sqrt((xx + yy + zz) / 3)")
    ]
    distance_std: Annotated[
        float,
        Field(
            "number", "distance_std", "standard deviation of the distance along `ray`", "m",
            stored=Stored("distance_std", "<f4", "", "distance_std"),
        ),
    ]  # fmt: skip
    common_cov: Annotated[
        Array | None,
        array(
            "6", "m²", "common_cov_six",
            "covariance xx, xy, xz, yy, yz, zz of the displacement that all joints share; since "
            "2.2", since=2,
            archive=Stored(
                "common_cov", "<f4", "3 3", "common_cov",
                "covariance of the displacement that all joints share; since format 5",
            ),
        ),
    ]  # fmt: skip
    ray: Annotated[
        Array, array("3", "", "ray", "unit vector from the camera to the pelvis", archive="ray")
    ]
    joint_visible: Annotated[
        Array,
        array(
            "24", "", "joint_visible", "probability of: inside the image and not occluded",
            archive="joint_visible",
        ),
    ]  # fmt: skip
    guessed: Annotated[
        Array, array("24", "", "guessed", "1 where joint_visible is below 0.5", dtype="|u1")
    ]
    global_orient: Annotated[
        Array,
        array(
            "3", "rad", "best.global_orient", "smplx's parameter, best estimate",
            archive="global_orient",
        ),
    ]  # fmt: skip
    body_pose: Annotated[
        Array, array("69", "rad", "best.body_pose", "smplx's parameter", archive="body_pose")
    ]
    betas: Annotated[Array, array("10", "", "best.betas", "smplx's parameter", archive="betas")]
    transl: Annotated[Array, array("3", "m", "best.transl", "smplx's parameter", archive="transl")]
    landmarks: Annotated[
        Array,
        array(
            "33 3", "px, px, 1", "landmarks.xyv", "BlazePose: x, y, the network's own visibility",
            archive="landmarks",
        ),
    ]  # fmt: skip
    landmark_presence: Annotated[
        Array | None,
        array(
            "33", "", "landmarks.presence",
            "the network's probability that the landmark is inside the crop; since 2.3", since=3,
            archive=Stored(
                "landmark_presence", "<f4", "33", "landmarks.presence",
                "the network's probability that the landmark is inside the crop; since format 6",
            ),
        ),
    ]  # fmt: skip
    landmark_peak: Annotated[
        Array | None,
        array(
            "33", "", "landmarks.peak",
            "largest probability in its heatmap, NaN where there is none; since 2.3", since=3,
            archive=Stored(
                "landmark_peak", "<f4", "33", "landmarks.peak",
                "largest probability in its heatmap, NaN where there is none; since format 6",
            ),
        ),
    ]  # fmt: skip
    hypotheses: Annotated[
        HypothesesMessage, Field("one", "hypotheses", "K bodies", nested=HypothesesMessage)
    ]


@dataclass(frozen=True)
class WorldMessage:
    """Where the camera stands; taken from `engines.types.World`."""

    T_world_cam: Annotated[
        tuple[tuple[float, ...], ...],
        Field(
            "rows", "T_world_cam", "from the camera frame to the world: z up, the floor at z = 0",
            "m", "4 4", stored=Stored("T_world_cam", "<f4", "4 4", "world.T_world_cam"),
        ),
    ]  # fmt: skip
    up_cov: Annotated[
        tuple[tuple[float, ...], ...],
        Field(
            "rows", "up_cov", "covariance of small rotations of the world about its x and y axes",
            "rad²", "2 2", stored=Stored("up_cov", "<f4", "2 2", "world.up_cov"),
        ),
    ]  # fmt: skip
    floor_std: Annotated[
        float | None,
        Field(
            "finite", "floor_std",
            "standard deviation of the camera's height above the floor; nil: no floor was found, "
            "the height is a guess", "m",
            stored=Stored(
                "floor_std", "<f4", "", "world.floor_std",
                "standard deviation of the camera's height above the floor; infinite: no floor was "
                "found, the height is a guess",
            ),
        ),
    ]  # fmt: skip
    source: Annotated[
        str,
        Field(
            "text", "source", "estimated from people, or given: by a calibration or the user",
            stored=Stored(
                "world_given", "?", "", "world.given",
                "given by a calibration or the user, not estimated from people",
            ),
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class PoseMessage:
    """What is known about one frame of one source; taken from `encode.Outgoing`."""

    schema: Annotated[str, Field("text", "schema", "penumbra.pose")]
    version: Annotated[
        tuple[int, int],
        Field(
            "counts", "version", "major, minor; a minor one only adds: skip unknown keys", shape="2"
        ),
    ]
    session: Annotated[
        str, Field("text", "stamp.session", "32 hex digits, new for every start of the publisher")
    ]
    seq: Annotated[
        int, Field("count", "stamp.seq", "0, 1, ... in a session: a gap is a lost message")
    ]
    frame_id: Annotated[
        int,
        Field(
            "count", "estimate.frame.frame_id", "frame of the source, dropped and skipped ones too",
            stored=Stored("frame", "<i8", "", "frame.frame_id"),
        ),
    ]  # fmt: skip
    media_time_s: Annotated[
        float,
        Field(
            "number", "estimate.frame.media_time_s",
            "position in a recording, or time since a live source's first frame", "s",
            stored=Stored("t", "<f8", "", "frame.media_time_s"),
        ),
    ]  # fmt: skip
    dropped: Annotated[
        int, Field("count", "estimate.frame.dropped", "frames of the source never processed so far")
    ]
    skipped: Annotated[
        int, Field("count", "estimate.frame.skipped", "broken frames of the source so far")
    ]
    t_capture_mono_ns: Annotated[
        int,
        Field(
            "count", "estimate.frame.t_capture_ns",
            "middle of the grab, the publisher's monotonic clock", "ns",
        ),
    ]  # fmt: skip
    t_capture_unix_ns: Annotated[
        int, Field("count", "t_capture_unix_ns", "the same instant in Unix time", "ns")
    ]
    t_publish_mono_ns: Annotated[
        int, Field("count", "stamp.t_publish_ns", "when the message was made, monotonic", "ns")
    ]
    t_publish_unix_ns: Annotated[
        int, Field("count", "t_publish_unix_ns", "the same instant in Unix time", "ns")
    ]
    clock_step_ns: Annotated[
        int,
        Field(
            "signed", "stamp.clock_step_ns",
            "how far the Unix clock was set since the session began; Unix times less this are "
            "continuous", "ns",
        ),
    ]  # fmt: skip
    source: Annotated[str, Field("text", "stream.source", "name of the camera or file")]
    image_size: Annotated[
        tuple[int, int],
        Field(
            "counts", "stream.image_size", "width and height, above zero", "px", "2",
            valid=lambda size: min(size) > 0,
        ),
    ]  # fmt: skip
    camera_matrix: Annotated[
        tuple[tuple[float, ...], ...],
        Field(
            "rows", "stream.camera_matrix", "fx 0 cx, 0 fy cy, 0 0 1", "px", "3 3",
            valid=lambda rows: _is_camera_matrix(rows),
        ),
    ]  # fmt: skip
    camera_distortion: Annotated[
        tuple[float, ...],
        Field(
            "numbers", "stream.camera_distortion",
            "OpenCV's k1, k2, p1, p2, k3, k4, k5, k6, of which 0, 4, 5 or 8 are given", shape="n",
            valid=lambda numbers: len(numbers) in (0, 4, 5, 8),
        ),
    ]  # fmt: skip
    camera_calibrated: Annotated[
        bool,
        Field("flag", "stream.camera_calibrated", "measured, or assumed from a field of view"),
    ]
    coordinates: Annotated[dict[str, str], Field("map", "coordinates", "axes, unit and rotation")]
    backend: Annotated[str, Field("text", "stream.backend", "what ran the networks")]
    joint_names: Annotated[
        tuple[str, ...],
        Field("texts", "joint_names", "the order of every axis of length 24", shape="24"),
    ]
    calibration: Annotated[
        StreamCalibration | None,
        Field(
            "optional", "stream.calibration", "nil: the uncertainties are not calibrated",
            nested=StreamCalibration,
        ),
    ]  # fmt: skip
    world: Annotated[
        WorldMessage | None,
        Field(
            "optional", "estimate.world", "nil: nothing is known about gravity; since 2.1",
            nested=WorldMessage, since=1,
        ),
    ]  # fmt: skip
    people: Annotated[
        tuple[PersonMessage, ...],
        Field(
            "many", "people", "the followed one first; empty when nobody is there",
            nested=PersonMessage,
            stored=Stored("found", "?", "", "found", "whether there is a person"),
        ),
    ]  # fmt: skip


COORDINATES = {
    "name": "camera",
    "axes": "x right, y down, z forward",
    "unit": "m",
    "rotation": "axis-angle rad",
}
"""The frame that all of a person is given in."""


def _is_camera_matrix(rows: tuple[tuple[float, ...], ...]) -> bool:
    (fx, _, cx), (_, fy, cy), _ = rows
    return min(fx, fy) > 0 and rows == ((fx, 0, cx), (0, fy, cy), (0, 0, 1))
