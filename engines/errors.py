"""The one exception that is meant for the user, and a check that raises it."""


class PenumbraError(Exception):
    """Something the user can put right: a missing file, a camera that does not open.

    The message has one form, "argument: what is wrong; what to do." Commands print it without a
    traceback and exit with status 2. Everything else that is raised is a defect of ours.
    """


def check_at_least(least: int, config: object, *names: str) -> None:
    """Refuse a configuration some of whose numbers are too small; None is no number.

    Raises:
        PenumbraError: one is.
    """
    for name in names:
        number = getattr(config, name)
        if number is not None and number < least:
            raise PenumbraError(f"{name}: must be at least {least}, not {number}; ask for more.")
