"""Time of one image of the view: python tests/benchmarks/bm_view.py [VIDEO]

Frames of the demo, or of a video, are estimated first and drawn afterwards, alone. Medians over the
frames; CPU time is that of the drawing thread.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from realtime.config import RunConfig
from realtime.session import Session
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewFrame

FRAMES = 60


def main() -> None:
    frames: list[ViewFrame] = []
    config = RunConfig(
        video=sys.argv[1] if len(sys.argv) > 1 else None,
        every_frame=True,
        publish=False,
        headless=True,
        max_frames=FRAMES,
    )
    session = Session(config)
    with session:
        session.run(frames.append)
    renderer = Renderer(session.body)
    renderer.compose(frames[0])
    cpu, wall = [], []
    for frame in frames[1:]:
        cpu_s, wall_s = time.thread_time(), time.perf_counter()
        renderer.compose(frame)
        cpu.append(time.thread_time() - cpu_s)
        wall.append(time.perf_counter() - wall_s)
    people = np.mean([len(frame.estimate.people) for frame in frames])
    size = f"{renderer.config.width}x{renderer.config.height}"
    print(
        f"{size}, {people:.1f} people: {1000 * np.median(cpu):.0f} ms CPU, "
        f"{1000 * np.median(wall):.0f} ms wall, {len(cpu)} frames"
    )


if __name__ == "__main__":
    main()
