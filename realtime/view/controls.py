"""What the window may ask of the run behind it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Controls(Protocol):
    """A run as the window knows it; every method returns at once and may be called any time."""

    @property
    def pausable(self) -> bool:
        """Whether the source waits for the window: recordings do, cameras do not."""
        ...

    @property
    def seekable(self) -> bool:
        """Whether the source can go to another time."""
        ...

    @property
    def duration_s(self) -> float | None:
        """Length of the recording, seconds; None where it is not known."""
        ...

    def pause(self, on: bool) -> None:
        """Hold the recording or let it go on."""
        ...

    def step(self) -> None:
        """Process one more frame of a held recording."""
        ...

    def seek(self, time_s: float) -> None:
        """Go on from another time of the recording, seconds."""
        ...

    def follow(self, track_id: int) -> None:
        """Follow another person."""
        ...


class NoControls:
    """A run that cannot be influenced: the window only watches."""

    pausable = False
    seekable = False
    duration_s: float | None = None

    def pause(self, on: bool) -> None:
        """Do nothing."""

    def step(self) -> None:
        """Do nothing."""

    def seek(self, time_s: float) -> None:
        """Do nothing."""

    def follow(self, track_id: int) -> None:
        """Do nothing."""
