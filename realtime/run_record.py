"""What an archive says about its run, beside the frames."""

from collections.abc import Mapping
from typing import Any

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.flow.model import FlowModel
from engines.types import LandmarkNetwork
from realtime.capture.photos import Photos
from realtime.capture.sources import Source
from realtime.config import RunConfig

_OF_MODEL = ("file", "sha256", "features", "validation", "calibration")
"""Of the model's record: what tells it from another one, and how far its uncertainty holds."""


class RunRecord:
    """Says what is known at the start and at the end."""

    def __init__(self, config: RunConfig, source: Source, intrinsics: Intrinsics) -> None:
        """Begin.

        Args:
            config: of the run.
            source: of the frames.
            intrinsics: of frames that do not bring their own.
        """
        self._config = config
        self._source = source
        self._intrinsics = intrinsics

    @property
    def cameras(self) -> dict[str, object]:
        """What is known of the cameras; of photos, the file and the camera of each."""
        if not isinstance(self._source, Photos):
            return _of_camera(self._intrinsics)
        files = [path.name for path in self._source.paths]
        cameras = self._source.cameras.items()
        return {"images": [{"frame": i, "file": files[i]} | _of_camera(one) for i, one in cameras]}

    def at_start(
        self, backend: str, network: LandmarkNetwork, model: FlowModel, body: BodyModel
    ) -> dict[str, object]:
        """Return what is known before the first frame."""
        of_model = {key: model.record[key] for key in _OF_MODEL if key in model.record}
        return {
            "backend": backend,
            "landmark_network": network,
            "model": of_model,
            "body": body.name,
            "source": self._source.name,
            **self.cameras,
            "prior": self._config.prior,
            "fitted": self._config.fit,
            "smoothed": self._config.smoothing,
            "height": self._config.height,
        }

    def at_end(
        self,
        fps: float,
        stages_ms: Mapping[str, tuple[float, float]],
        stopped_by: str | None,
    ) -> dict[str, Any]:
        """Return what is known after the last frame.

        Args:
            fps: frames per second.
            stages_ms: median and 95th percentile of each stage.
            stopped_by: why the run ended before the source did.
        """
        record: dict[str, Any] = {
            "stages_ms": {name: {"p50": a, "p95": b} for name, (a, b) in stages_ms.items()},
            "fps": fps,
        }
        if stopped_by is not None:
            record["interrupted_by"] = stopped_by
        return record


def _of_camera(intrinsics: Intrinsics) -> dict[str, object]:
    return {
        "image_size": list(intrinsics.size),
        "camera_matrix": intrinsics.matrix.tolist(),
        "camera_distortion": list(intrinsics.dist),
        "camera": intrinsics.source,
    }
