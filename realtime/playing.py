"""What a window may ask of a session: the controls of `realtime.view.controls`."""

from collections.abc import Callable

from realtime.capture.playback import Playback
from realtime.capture.sources import Recording, Source


class SessionControls:
    """Passes what the user asks for to the source and the pipeline."""

    def __init__(
        self,
        source: Source,
        playback: Playback,
        follow: Callable[[int], None],
        *,
        saved: bool,
        start_s: float = 0.0,
    ) -> None:
        """Take the parts.

        Args:
            source: Of the run.
            playback: Of the source; used for recordings only.
            follow: Chooses whom single-person consumers follow.
            saved: Whether the estimates are saved in order, so that there is no going back.
            start_s: Where in the recording the run begins.
        """
        self.pausable = not source.live
        self.seekable = isinstance(source, Recording) and not source.remote and not saved
        length = source.length
        self.duration_s = None if length is None else start_s + length / source.fps
        self._playback = playback
        self._follow = follow

    def pause(self, on: bool) -> None:
        """Hold the recording or let it go on."""
        self._playback.pause(on)

    def step(self) -> None:
        """Process one more frame of a held recording."""
        self._playback.step()

    def seek(self, time_s: float) -> None:
        """Go on from another time of the recording, seconds; only where it is seekable."""
        if self.seekable:
            self._playback.seek(time_s)

    def follow(self, track_id: int) -> None:
        """Follow another person."""
        self._follow(track_id)
