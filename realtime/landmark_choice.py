"""Which landmark network a run uses, and why.

The heavy network errs less and takes several times as long. `auto` takes it where that costs
nothing but patience: where every frame of a recording is processed, or a GPU runs it. It brings
nothing from anywhere: without the heavy network in the cache it takes full, and says how to get it.
"""

import logging

from engines.backends.engine import runs_on_gpu
from engines.blazepose.heavy import is_cached, named
from engines.blazepose.models import landmarker_model
from engines.types import LandmarkNetwork
from realtime.config import RunConfig

log = logging.getLogger(__name__)


def choose(config: RunConfig, every_frame: bool) -> LandmarkNetwork:
    """Choose the landmark network of a run; the choice of `auto` is logged.

    Args:
        config: of the run.
        every_frame: whether it processes every frame of a recording.

    Raises:
        PenumbraError: a local copy is not what it should be.
    """
    if config.landmarks_file is not None:
        asked = None if config.landmarks == "auto" else config.landmarks
        return named(asked, config.landmarks_file)
    if config.landmarks != "auto":
        return config.landmarks
    network, why = _automatic(config, every_frame)
    log.info("landmarks: %s (auto: %s).", network, why)
    return network


def _automatic(config: RunConfig, every_frame: bool) -> tuple[LandmarkNetwork, str]:
    if config.cam is None and config.video is None:
        return "full", "the demo's numbers are for it"
    cached = is_cached()
    if every_frame:
        why = "every frame is processed"
    elif runs_on_gpu(landmarker_model("heavy" if cached else "full"), config.backend):
        why = "a GPU runs it"
    else:
        return "full", "the source keeps its pace, and no GPU runs heavy"
    if cached:
        return "heavy", why
    return "full", f"{why}, but heavy is not here; give `landmarks` heavy once to get it"
