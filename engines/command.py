"""How a command starts, and how it fails: options from a dataclass, errors as one sentence."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from engines.errors import PenumbraError

Config = TypeVar("Config")


def start(
    main: Callable[[Config], Any], config: type[Config], arguments: Sequence[str] | None = None
) -> None:
    """Read a command's configuration from the command line and run it.

    A `PenumbraError`, which the user can put right, is printed without a traceback; the exit status
    is then 2, as for a wrong option.

    Args:
        main: what the command does.
        config: a dataclass; its fields are the options, their docstrings the help.
        arguments: of the command line; those of the process when None.
    """
    logging.basicConfig(level=logging.INFO)
    spec = sys.modules["__main__"].__spec__  # None for a script
    program = f"python -m {spec.name}" if spec else None
    try:
        try:
            options = tyro.cli(config, prog=program, args=arguments)
        finally:
            sys.stdout.flush()  # when the process ends it would be too late to catch
    except BrokenPipeError:  # `--help | head` has read enough
        discard(sys.stdout.fileno())
        return
    try:
        main(options)
    except PenumbraError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def discard(descriptor: int) -> None:
    """Send to nowhere what is still written to a file descriptor.

    For a stdout that fails: what is buffered would fail again when the process ends.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
