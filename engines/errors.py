"""The one exception that is meant for the person at the keyboard."""


class PenumbraError(Exception):
    """Something the user can put right: a missing file, a camera that does not open, a backend that
    is not installed.

    The message is one sentence that names the argument and says what to do. `run_demo.py` and the
    other command lines print it without a traceback and exit with status 2. Everything else that is
    raised is a defect of ours.
    """
