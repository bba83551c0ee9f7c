"""The one exception that is meant for the user."""


class PenumbraError(Exception):
    """Something the user can put right: a missing file, a camera that does not open.

    The message has one form, "argument: what is wrong; what to do." Commands print it without a
    traceback and exit with status 2. Everything else that is raised is a defect of ours.
    """
