"""How the trainer's commands start and fail: as all of ours, see `engines.command`."""

from engines.command import start

__all__ = ["start"]
