"""How the trainer's command lines start and fail."""

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

from engines.errors import PenumbraError

C = TypeVar("C")


def start(main: Callable[[C], Any], config: type[C]) -> None:
    """Read the configuration from the command line and run; trouble that the user can mend is one
    sentence, status 2.
    """
    logging.basicConfig(level=logging.INFO)
    try:
        main(tyro.cli(config))
    except PenumbraError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
